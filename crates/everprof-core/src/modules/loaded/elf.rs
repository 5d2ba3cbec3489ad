//! What a mapped module's own headers say about it.
//!
//! Context: signal. Invariant: reads nothing outside the first page and the
//! readable segments that the headers name; each slice ends where its segment does.
//! Source: System V gABI, program headers and notes; LSB 5.0 PT_GNU_EH_FRAME.

use core::slice;

use libc::{Elf64_Ehdr, Elf64_Phdr};

/// A module's program headers, with where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headers<'a> {
    bias: u64,
    segments: &'a [Elf64_Phdr],
}

/// A module's code: addresses and offset in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) start: u64,
    pub(crate) limit: u64,
    pub(crate) file_offset: u64,
}

/// Headers are looked for in this many bytes only: the smallest page, so that they
/// are mapped if the module's first byte is. Room for 70 segments.
pub(super) const FIRST_PAGE: usize = 4096;

impl<'a> Headers<'a> {
    /// Those of the module whose file's first byte is mapped at `start`.
    ///
    /// # Safety
    ///
    /// The page at `start` is readable, and a module loaded there stays during `'a`.
    pub(crate) unsafe fn at(start: u64, bias: u64) -> Option<Self> {
        let header = start as *const Elf64_Ehdr;
        if !header.is_aligned() || header.is_null() {
            return None;
        }
        // SAFETY: aligned; the page is readable by the caller's promise.
        let header = unsafe { &*header };
        let is_elf64 = header.e_ident.starts_with(b"\x7fELF\x02");
        let offset = usize::try_from(header.e_phoff).ok()?;
        let count = usize::from(header.e_phnum);
        let end = offset.checked_add(count.checked_mul(size_of::<Elf64_Phdr>())?)?;
        let fits = end <= FIRST_PAGE && offset % align_of::<Elf64_Phdr>() == 0;
        if !is_elf64 || !fits || usize::from(header.e_phentsize) != size_of::<Elf64_Phdr>() {
            return None;
        }
        let first = start.checked_add(offset as u64)? as *const Elf64_Phdr;
        // SAFETY: aligned and within the first page, checked above.
        let segments = unsafe { slice::from_raw_parts(first, count) };
        Some(Self { bias, segments })
    }

    /// Those that the loader told.
    pub(crate) fn new(bias: u64, segments: &'a [Elf64_Phdr]) -> Self {
        Self { bias, segments }
    }

    /// The executable segments, from the first to the last.
    pub(crate) fn code(&self) -> Option<Code> {
        let mut executable = self
            .loads()
            .filter(|segment| segment.p_flags & libc::PF_X != 0);
        let first = executable.next()?;
        let last = executable.last().unwrap_or(first);
        // The mapping starts at the page that holds the segment's first byte.
        let in_page = first.p_vaddr % FIRST_PAGE as u64;
        Some(Code {
            start: self.bias.wrapping_add(first.p_vaddr - in_page),
            limit: self
                .bias
                .wrapping_add(last.p_vaddr)
                .wrapping_add(last.p_memsz)
                .next_multiple_of(FIRST_PAGE as u64),
            file_offset: first.p_offset.wrapping_sub(in_page),
        })
    }

    /// From the first byte mapped to the last.
    pub(crate) fn extent(&self) -> Option<(u64, u64)> {
        let start = self.loads().map(|segment| segment.p_vaddr).min()? & !(FIRST_PAGE as u64 - 1);
        let limit = self
            .loads()
            .map(|segment| segment.p_vaddr.wrapping_add(segment.p_memsz))
            .max()?;
        Some((self.bias.wrapping_add(start), self.bias.wrapping_add(limit)))
    }

    /// Address of `.eh_frame_hdr`, and the segment that holds it.
    pub(crate) fn unwind_tables(&self) -> Option<(u64, &'a [u8])> {
        let header = self
            .segments
            .iter()
            .find(|segment| segment.p_type == libc::PT_GNU_EH_FRAME)?;
        Some((
            self.bias.wrapping_add(header.p_vaddr),
            self.segment_with(header)?,
        ))
    }

    /// Where the segment ends, as the file has it, that holds the byte at `address`.
    pub(crate) fn segment_end(&self, address: u64) -> Option<u64> {
        let offset = |segment: &Elf64_Phdr| {
            address
                .wrapping_sub(self.bias)
                .wrapping_sub(segment.p_vaddr)
        };
        let segment = self
            .loads()
            .find(|segment| offset(segment) < segment.p_filesz)?;
        address
            .wrapping_sub(offset(segment))
            .checked_add(segment.p_filesz)
    }

    /// The GNU build id; empty if there is none.
    pub(crate) fn build_id(&self) -> &'a [u8] {
        let notes = self
            .segments
            .iter()
            .filter(|segment| segment.p_type == libc::PT_NOTE);
        notes
            .filter_map(|segment| build_id_in(self.contents(segment)?))
            .next()
            .unwrap_or(&[])
    }

    fn loads(&self) -> impl Iterator<Item = &'a Elf64_Phdr> + use<'a> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type == libc::PT_LOAD)
    }

    /// The bytes that a header other than PT_LOAD describes.
    fn contents(&self, part: &Elf64_Phdr) -> Option<&'a [u8]> {
        let load = self.load_with(part)?;
        let offset = usize::try_from(part.p_vaddr - load.p_vaddr).ok()?;
        let size = usize::try_from(part.p_filesz).ok()?;
        self.segment_with(part)?
            .get(offset..offset.checked_add(size)?)
    }

    fn load_with(&self, part: &Elf64_Phdr) -> Option<&'a Elf64_Phdr> {
        self.loads().find(|load| {
            load.p_flags & libc::PF_R != 0
                && load.p_vaddr <= part.p_vaddr
                && part.p_vaddr - load.p_vaddr < load.p_filesz
        })
    }

    fn segment_with(&self, part: &Elf64_Phdr) -> Option<&'a [u8]> {
        let load = self.load_with(part)?;
        let address = self.bias.wrapping_add(load.p_vaddr);
        let size = usize::try_from(load.p_filesz)
            .ok()
            .filter(|&size| size <= isize::MAX as usize)?;
        // SAFETY: the loader has mapped `p_filesz` bytes of this segment readable at
        // this address, and keeps them during `'a` (promise of the constructors).
        Some(unsafe { slice::from_raw_parts(address as *const u8, size) })
    }
}

/// The build id in a segment of notes.
fn build_id_in(mut notes: &[u8]) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let (head, rest) = notes.split_first_chunk::<12>()?;
        let word = |index: usize| {
            let bytes = head
                .get(index..index + 4)
                .and_then(|bytes| bytes.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let (name_size, size, kind) = (word(0) as usize, word(4) as usize, word(8));
        let name = rest.get(..name_size)?;
        let body = rest.get(name_size.checked_next_multiple_of(4)?..)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return body.get(..size);
        }
        notes = body.get(size.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn note(name: &[u8], kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [name.len() as u32, body.len() as u32, kind] {
            bytes.extend(word.to_le_bytes());
        }
        for part in [name, body] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let mut notes = note(b"GNU\0", 1, &[0; 16]);
        notes.extend(note(b"Go\0", 3, &[7; 5]));
        notes.extend(note(b"GNU\0", 3, &[9; 20]));
        assert_eq!(build_id_in(&notes), Some(&[9; 20][..]));
    }

    #[test]
    fn cut_notes_have_no_build_id() {
        let notes = note(b"GNU\0", 3, &[9; 20]);
        for length in 0..notes.len() {
            assert_eq!(build_id_in(&notes[..length]), None, "{length}");
        }
        let mut huge = notes.clone();
        huge[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(build_id_in(&huge), None);
    }
}
