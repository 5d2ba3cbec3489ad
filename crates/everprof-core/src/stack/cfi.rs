//! Call-frame information: from a code address to the row that unwinds it.
//!
//! Context: signal. No allocation, no lock, no panic; about 500 bytes of stack.
//! Invariant: every read goes through `Cursor`, which checks its bounds, so
//! hostile tables end in a [`Fault`], never in a wild read. Arithmetic wraps.
//! Source: LSB 5.0 `.eh_frame` and `.eh_frame_hdr`; DWARF 5 §6.4; the AArch64
//! ABI's `negate_ra_state`. A general interpreter keeps all registers of four
//! nested rows (17 KB of stack were measured for a cold walk with one); a stack
//! needs three: the canonical frame address, the frame pointer and the return
//! address.

use core::ops::Range;

mod cursor;
mod entry;
mod machine;

use cursor::{Cursor, encoding};
use entry::Fde;
use machine::Machine;

/// Why a table gave no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The table covers no such address.
    NotCovered,
    /// The table uses what this interpreter leaves out.
    Unsupported,
    /// The table contradicts itself or its bounds.
    Malformed,
}

/// The numbers DWARF gives to the three registers that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterNumbers {
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Return address (x86_64: a column of its own; aarch64: the link register).
    pub ra: u64,
}

impl RegisterNumbers {
    /// System V ABI for x86_64, figure 3.36.
    pub const X86_64: Self = Self {
        sp: 7,
        fp: 6,
        ra: 16,
    };
    /// DWARF for the Arm 64-bit architecture, §4.1.
    pub const AARCH64: Self = Self {
        sp: 31,
        fp: 29,
        ra: 30,
    };
}

/// One module's unwind tables, as they are mapped.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// The mapped segment that holds `.eh_frame_hdr` and `.eh_frame`.
    pub segment: &'a [u8],
    /// Address of the segment's first byte.
    pub address: u64,
    /// Address of `.eh_frame_hdr`.
    pub header: u64,
}

/// How the canonical frame address is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cfa {
    /// Stack pointer plus bytes.
    Sp(i32),
    /// Frame pointer plus bytes.
    Fp(i32),
    /// The word at frame pointer plus bytes (functions that realign their stack).
    AtFp(i32),
    /// In a way that is not followed.
    Unsupported,
}

/// Where the caller's value of a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Still in the register.
    Same,
    /// Nowhere. For the return address: this is the stack's end.
    Undefined,
    /// In memory at the canonical frame address plus bytes.
    AtCfa(i32),
    /// In memory at the frame pointer plus bytes.
    AtFp(i32),
    /// In a place that is not followed.
    Unsupported,
}

/// What the tables say about one code address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The canonical frame address: the caller's stack pointer.
    pub cfa: Cfa,
    /// The caller's frame pointer.
    pub fp: Saved,
    /// The return address.
    pub ra: Saved,
    /// The return address carries a pointer authentication code.
    pub signed: bool,
    /// The function is a signal trampoline: its caller was interrupted, not left by a call.
    pub signal: bool,
}

impl<'a> Tables<'a> {
    /// The row for `lookup`, an address inside the instruction that is to be unwound.
    ///
    /// # Errors
    ///
    /// [`Fault`] says why there is none.
    pub fn row(&self, lookup: u64, numbers: RegisterNumbers) -> Result<Row, Fault> {
        let entry = self.search(lookup)?;
        let fde = Fde::parse(self, entry)?;
        if lookup.wrapping_sub(fde.start) >= fde.size {
            return Err(Fault::NotCovered);
        }
        let blank = Row {
            cfa: Cfa::Unsupported,
            fp: Saved::Same,
            ra: Saved::Same,
            signed: false,
            signal: fde.cie.signal,
        };
        let mut machine = Machine::new(self, &fde.cie, numbers, blank);
        machine.run(fde.cie.program, u64::MAX)?;
        machine.begin(fde.start);
        machine.run(fde.program, lookup)?;
        Ok(machine.row)
    }

    /// The function that `lookup` is in: its first address, and the first behind it.
    ///
    /// # Errors
    ///
    /// [`Fault`] says why it is not known.
    pub fn function(&self, lookup: u64) -> Result<Range<u64>, Fault> {
        let fde = Fde::parse(self, self.search(lookup)?)?;
        if lookup.wrapping_sub(fde.start) >= fde.size {
            return Err(Fault::NotCovered);
        }
        Ok(fde.start..fde.start.wrapping_add(fde.size))
    }

    /// Address of the frame description entry that may cover `lookup`, by
    /// binary search in `.eh_frame_hdr`.
    fn search(&self, lookup: u64) -> Result<u64, Fault> {
        let mut cursor = self.at(self.header)?;
        let version = cursor.u8()?;
        let frames_encoding = cursor.u8()?;
        let count_encoding = cursor.u8()?;
        let table_encoding = cursor.u8()?;
        if version != 1 {
            return Err(Fault::Malformed);
        }
        // The one layout linkers write: sorted pairs of four bytes, relative to
        // the header. A table of another kind would need a linear scan.
        if table_encoding != (encoding::DATA_RELATIVE | encoding::SDATA4) {
            return Err(Fault::Unsupported);
        }
        cursor.encoded(frames_encoding, self.header)?;
        let count = cursor.encoded(count_encoding, self.header)?;
        let table = cursor.rest();
        if count > (table.len() / 8) as u64 {
            return Err(Fault::Malformed);
        }
        let entry = |index: usize| -> Result<(u64, u64), Fault> {
            let mut pair = Cursor::new(table, index.wrapping_mul(8), 0);
            let start = pair.i32()?;
            let frame = pair.i32()?;
            Ok((
                self.header.wrapping_add_signed(i64::from(start)),
                self.header.wrapping_add_signed(i64::from(frame)),
            ))
        };
        // Invariant: every entry below `low` starts at or before `lookup`,
        // every entry from `high` on starts after it.
        let (mut low, mut high) = (0, count as usize);
        while low < high {
            let middle = low + (high - low) / 2;
            if entry(middle)?.0 <= lookup {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        match low.checked_sub(1) {
            Some(last) => Ok(entry(last)?.1),
            None => Err(Fault::NotCovered),
        }
    }

    /// A cursor at a mapped address.
    fn at(&self, address: u64) -> Result<Cursor<'a>, Fault> {
        let offset =
            usize::try_from(address.wrapping_sub(self.address)).map_err(|_| Fault::Malformed)?;
        if offset >= self.segment.len() {
            return Err(Fault::Malformed);
        }
        Ok(Cursor::new(self.segment, offset, self.address))
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) const ADDRESS: u64 = 0x40_0000;
    const CODE: u64 = ADDRESS - 0x10000;

    /// A segment as a linker lays it out: header, table, one CIE, entries.
    pub(crate) struct Segment {
        bytes: Vec<u8>,
    }

    impl Segment {
        /// `functions`: start (from CODE on), size, program.
        pub(crate) fn new(
            augmentation: &[u8],
            initial: &[u8],
            functions: &[(u64, u32, &[u8])],
        ) -> Self {
            let table = 12 + functions.len() * 8;
            let mut bytes = vec![1, 0x1b, 0x03, 0x3b];
            bytes.extend(((table - 4) as u32).to_le_bytes());
            bytes.extend((functions.len() as u32).to_le_bytes());
            bytes.resize(table, 0);
            // Version, augmentation, code and data alignment, return address, pc encoding.
            let mut cie = vec![0, 0, 0, 0, 1];
            cie.extend(augmentation);
            cie.extend([0, 1, 0x78, 16, 1, 0x1b]);
            cie.extend(initial);
            push_entry(&mut bytes, &cie);
            for (index, (start, size, program)) in functions.iter().enumerate() {
                let at = bytes.len();
                let pair = 12 + index * 8;
                let start = CODE.wrapping_add(*start);
                let distance = |to: u64, from: u64| (to.wrapping_sub(from) as u32).to_le_bytes();
                bytes[pair..pair + 4].copy_from_slice(&distance(start, ADDRESS));
                bytes[pair + 4..pair + 8].copy_from_slice(&(at as u32).to_le_bytes());
                let mut fde = ((at + 4 - table) as u32).to_le_bytes().to_vec();
                fde.extend(distance(start, ADDRESS + at as u64 + 8));
                fde.extend(size.to_le_bytes());
                fde.push(0);
                fde.extend(*program);
                push_entry(&mut bytes, &fde);
            }
            Self { bytes }
        }

        pub(crate) fn row(&self, at: u64) -> Result<Row, Fault> {
            row_of(&self.bytes, CODE.wrapping_add(at))
        }
    }

    fn push_entry(bytes: &mut Vec<u8>, body: &[u8]) {
        let padded = body.len().next_multiple_of(8) + 4;
        bytes.extend((padded as u32).to_le_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len() + padded - body.len(), 0);
    }

    fn row_of(bytes: &[u8], lookup: u64) -> Result<Row, Fault> {
        let tables = Tables {
            segment: bytes,
            address: ADDRESS,
            header: ADDRESS,
        };
        tables.row(lookup, RegisterNumbers::X86_64)
    }

    /// cfa = rsp + 8, return address at cfa - 8.
    const INITIAL: &[u8] = &[0x0c, 7, 8, 0x90, 1];

    fn plain(program: &[u8]) -> Segment {
        Segment::new(b"zR", INITIAL, &[(0, 100, program)])
    }

    #[test]
    fn each_instruction_has_its_own_row() {
        // push rbp; mov rbp, rsp; …; pop rbp (behind byte 90).
        let segment = plain(&[
            0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x02, 86, 0x0c, 7, 8, 0xc6,
        ]);
        let row = |at| segment.row(at).unwrap();
        assert_eq!((row(0).cfa, row(0).fp), (Cfa::Sp(8), Saved::Same));
        assert_eq!((row(1).cfa, row(1).fp), (Cfa::Sp(16), Saved::AtCfa(-16)));
        assert_eq!((row(4).cfa, row(4).fp), (Cfa::Fp(16), Saved::AtCfa(-16)));
        assert_eq!((row(89).cfa, row(89).fp), (Cfa::Fp(16), Saved::AtCfa(-16)));
        assert_eq!((row(90).cfa, row(90).fp), (Cfa::Sp(8), Saved::Same));
        assert_eq!(row(99).ra, Saved::AtCfa(-8));
        assert_eq!(segment.row(100), Err(Fault::NotCovered));
    }

    #[test]
    fn the_function_that_covers_an_address_is_found_among_many() {
        let starts: Vec<u64> = (0..100).map(|index| index * 32).collect();
        let programs: Vec<[u8; 2]> = (0..100_u8).map(|index| [0x0e, index]).collect();
        let functions: Vec<_> = starts
            .iter()
            .zip(&programs)
            .map(|(&start, program)| (start, 16, &program[..]))
            .collect();
        let segment = Segment::new(b"zR", INITIAL, &functions);
        for index in 0..100 {
            assert_eq!(segment.row(index * 32).unwrap().cfa, Cfa::Sp(index as i32));
            assert_eq!(
                segment.row(index * 32 + 15).unwrap().cfa,
                Cfa::Sp(index as i32)
            );
            assert_eq!(segment.row(index * 32 + 16), Err(Fault::NotCovered));
        }
        assert_eq!(segment.row(u64::MAX), Err(Fault::NotCovered));
        let tables = Tables {
            segment: &segment.bytes,
            address: ADDRESS,
            header: ADDRESS,
        };
        let start = CODE + 7 * 32;
        assert_eq!(tables.function(start + 15), Ok(start..start + 16));
        assert_eq!(tables.function(start + 16), Err(Fault::NotCovered));
    }

    #[test]
    fn remembered_rows_return_with_their_frame_address() {
        let segment = plain(&[0x0e, 64, 0x0a, 0x41, 0x0e, 8, 0xc6, 0x41, 0x0b]);
        assert_eq!(segment.row(0).unwrap().cfa, Cfa::Sp(64));
        assert_eq!(segment.row(1).unwrap().cfa, Cfa::Sp(8));
        assert_eq!(segment.row(2).unwrap().cfa, Cfa::Sp(64));
        assert_eq!(plain(&[0x0b]).row(0), Err(Fault::Malformed));
        assert_eq!(plain(&[0x0a; 20]).row(0), Err(Fault::Unsupported));
    }

    #[test]
    fn a_realigned_stack_is_followed_through_the_frame_pointer() {
        // cfa = *(rbp - 8); rbp is saved at rbp + 0.
        let segment = plain(&[0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0]);
        let row = segment.row(0).unwrap();
        assert_eq!((row.cfa, row.fp), (Cfa::AtFp(-8), Saved::AtFp(0)));
    }

    #[test]
    fn other_expressions_are_named_unsupported() {
        let segment = plain(&[0x0f, 5, 0x77, 8, 0x06, 0x23, 8, 0x16, 16, 1, 0x77]);
        let row = segment.row(0).unwrap();
        assert_eq!((row.cfa, row.ra), (Cfa::Unsupported, Saved::Unsupported));
        // Another register's expression is skipped.
        let segment = plain(&[0x10, 3, 2, 0x77, 8, 0x16, 12, 1, 0x77, 0x0e, 32]);
        assert_eq!(segment.row(0).unwrap().cfa, Cfa::Sp(32));
    }

    #[test]
    fn an_undefined_return_address_ends_the_stack() {
        assert_eq!(plain(&[0x07, 16]).row(0).unwrap().ra, Saved::Undefined);
    }

    #[test]
    fn a_signal_trampoline_is_known_by_its_augmentation() {
        assert!(
            Segment::new(b"zRS", INITIAL, &[(0, 8, &[])])
                .row(0)
                .unwrap()
                .signal
        );
        assert!(!plain(&[]).row(0).unwrap().signal);
    }

    #[test]
    fn signing_toggles() {
        let segment = plain(&[0x41, 0x2d, 0x41, 0x2d]);
        assert_eq!(
            [0, 1, 2].map(|at| segment.row(at).unwrap().signed),
            [false, true, false]
        );
    }

    #[test]
    fn a_table_that_is_not_sorted_pairs_is_refused() {
        let mut segment = plain(&[]);
        segment.bytes[3] = 0x1b;
        assert_eq!(segment.row(0), Err(Fault::Unsupported));
        segment.bytes[0] = 2;
        assert_eq!(segment.row(0), Err(Fault::Malformed));
    }

    #[test]
    fn tables_cut_anywhere_end_in_a_fault() {
        let whole = plain(&[0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6]).bytes;
        let row = row_of(&whole, CODE + 50).unwrap();
        for length in 0..whole.len() {
            // The padding at the end may go.
            assert!(
                row_of(&whole[..length], CODE + 50).map_or(true, |cut| cut == row),
                "{length}"
            );
        }
    }

    #[test]
    fn tables_with_any_byte_changed_end() {
        let whole = plain(&[0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6]).bytes;
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = row_of(&changed, CODE + 50);
            }
        }
    }
}
