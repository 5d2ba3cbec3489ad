//! Whether a program brings an allocator of its own, past which we see nothing.
//!
//! Context: cold, while the program runs already: its start does not wait for it.
//! Invariant: memory is one buffer and the headers, whatever the size of the file.
//!
//! A release program has a hundred thousand symbols, and we look for nine. So
//! their names are read first, all in one pass, and the symbols only where some
//! name fits. (A read for each name took 13,600 system calls for rustfmt.)

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use object::elf::{self, FileHeader64, Sym64};
use object::read::ReadCache;
use object::read::elf::{FileHeader, SectionHeader, Sym};
use object::{Endianness, pod};

/// The symbol of an allocator that is linked into the program and does not call
/// `malloc`. A file that cannot be read has none: this only serves a note.
pub(crate) fn find(path: &Path) -> Option<&'static str> {
    let file = File::open(path).ok()?;
    let [dynamic, all] = tables(&file)?;
    // Exported by the executable itself, `malloc` comes before any preloaded one.
    let exported = dynamic.and_then(|table| defined(&file, table, &["malloc"]).ok()?);
    let linked = |table: Option<Table>| defined(&file, table?, ALLOCATORS).ok()?;
    exported.or_else(|| linked(all)).or_else(|| linked(dynamic))
}

/// jemalloc as the tikv-jemallocator and jemallocator crates build it,
/// mimalloc, snmalloc, and tcmalloc's C++ entry.
const ALLOCATORS: &[&str] = &[
    "_rjem_malloc",
    "rjem_malloc",
    "_rjem_mallocx",
    "mi_malloc",
    "mi_malloc_aligned",
    "sn_rust_alloc",
    "tc_malloc",
];

/// Bytes of a buffer that are kept from one read for the next: more than the
/// longest name.
const KEPT_BYTES: usize = 32;

/// A read of so many bytes costs more for copying than for the call.
const READ_BYTES: usize = 64 << 10;

/// Where symbols and their names stand in the file.
#[derive(Clone, Copy)]
struct Table {
    endian: Endianness,
    symbols: (u64, u64),
    names: (u64, u64),
}

/// The dynamic symbols, which no program can do without, and all of them, which
/// a stripped one has not.
fn tables(file: &File) -> Option<[Option<Table>; 2]> {
    let cache = ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.section_headers(endian, &cache).ok()?;
    let range = |section: &elf::SectionHeader64<Endianness>| {
        (section.sh_offset(endian), section.sh_size(endian))
    };
    let of_kind = |kind| {
        let symbols = sections.iter().find(|s| s.sh_type(endian) == kind)?;
        let names = sections.get(symbols.sh_link(endian) as usize)?;
        Some(Table {
            endian,
            symbols: range(symbols),
            names: range(names),
        })
    };
    Some([elf::SHT_DYNSYM, elf::SHT_SYMTAB].map(of_kind))
}

/// One of `wanted` that the file defines.
fn defined(file: &File, table: Table, wanted: &[&'static str]) -> io::Result<Option<&'static str>> {
    let places = places_of(part(file, table.names)?, wanted)?;
    if places.is_empty() {
        return Ok(None);
    }
    let mut symbols = part(file, table.symbols)?;
    let mut buffer =
        vec![0; READ_BYTES / size_of::<Sym64<Endianness>>() * size_of::<Sym64<Endianness>>()];
    loop {
        let filled = fill(&mut symbols, &mut buffer)?;
        let count = filled / size_of::<Sym64<Endianness>>();
        let Ok((read, _)) = pod::slice_from_bytes::<Sym64<Endianness>>(&buffer, count) else {
            return Ok(None);
        };
        let is_definition =
            |symbol: &&Sym64<Endianness>| symbol.st_shndx(table.endian) != elf::SHN_UNDEF;
        let name_of = |symbol: &Sym64<Endianness>| {
            let name = u64::from(symbol.st_name(table.endian));
            let (_, name) = places.iter().find(|(place, _)| *place == name)?;
            Some(*name)
        };
        if let Some(name) = read.iter().filter(is_definition).find_map(name_of) {
            return Ok(Some(name));
        }
        if filled < buffer.len() {
            return Ok(None);
        }
    }
}

/// Where these names stand among all names. A linker lets a name share the end
/// of a longer one, so that ends are looked at.
fn places_of(
    mut names: impl Read,
    wanted: &[&'static str],
) -> io::Result<Vec<(u64, &'static str)>> {
    let mut places = Vec::new();
    let mut buffer = vec![0; KEPT_BYTES + READ_BYTES];
    // Where in the table the part of the buffer begins that is read anew.
    let mut at = 0_u64;
    loop {
        let filled = fill(&mut names, &mut buffer[KEPT_BYTES..])?;
        let window = &buffer[..KEPT_BYTES + filled];
        let ends = window.iter().enumerate().skip(KEPT_BYTES);
        for (end, _) in ends.filter(|(_, byte)| **byte == 0) {
            for name in wanted
                .iter()
                .filter(|n| window[..end].ends_with(n.as_bytes()))
            {
                let start = at + end as u64 - (KEPT_BYTES + name.len()) as u64;
                places.push((start, *name));
            }
        }
        if filled < READ_BYTES {
            return Ok(places);
        }
        at += filled as u64;
        buffer.copy_within(READ_BYTES.., 0);
    }
}

fn part(mut file: &File, (offset, size): (u64, u64)) -> io::Result<impl Read> {
    file.seek(SeekFrom::Start(offset))?;
    Ok(file.take(size))
}

/// Reads until the buffer is full or there is no more.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn this_very_test_brings_none() {
        assert_eq!(find(&std::env::current_exe().unwrap()), None);
    }

    #[test]
    fn what_is_no_elf_file_brings_none() {
        assert_eq!(find(Path::new("/proc/self/status")), None);
        assert_eq!(find(Path::new("/no/such/file")), None);
    }

    /// At every place of the buffer, its edges above all.
    #[test]
    fn name_is_found_wherever_it_stands() {
        for before in (0..40).chain(READ_BYTES - 40..READ_BYTES + 40) {
            let mut names = vec![b'x'; before];
            names.extend(b"\0tc_malloc\0more\0");
            let places = places_of(names.as_slice(), ALLOCATORS).unwrap();
            assert_eq!(places, [(before as u64 + 1, "tc_malloc")]);
        }
    }

    #[test]
    fn name_that_is_the_end_of_another_is_found_with_it() {
        let places = places_of(&b"\0_rjem_malloc\0malloc\0"[..], ALLOCATORS).unwrap();
        assert_eq!(places, [(1, "_rjem_malloc"), (2, "rjem_malloc")]);
    }

    #[test]
    fn longest_name_fits_what_is_kept() {
        assert!(ALLOCATORS.iter().all(|name| name.len() < KEPT_BYTES));
    }
}
