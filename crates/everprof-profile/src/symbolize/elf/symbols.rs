//! Symbols: the best one of each address, and its name.
//!
//! Context: cold. Invariant: the table is passed over once, and of the names only those are
//! read that were found; memory is one buffer and what was asked for.
//!
//! The tables of a 97 MB program are 20 MB. To name 5,000 addresses it is enough to pass
//! over the symbols once, keep the best one of each address, and read the names of these.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use object::elf;
use object::read::elf::{FileHeader, Sym};
use object::{Endianness, pod};

use super::{ElfFile, SymbolTable};

/// The best symbol so far of an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    address: u64,
    /// Where its name stands among the names.
    name: u32,
    is_local: bool,
}

impl ElfFile {
    /// Passes over the symbol table once.
    pub(super) fn find<Elf: FileHeader<Endian = Endianness>>(
        &self,
        table: SymbolTable,
        addresses: &[u64],
    ) -> std::io::Result<Vec<Option<Candidate>>> {
        let mut sized: Vec<Option<Candidate>> = vec![None; addresses.len()];
        // Assembly often gives no size. Such a symbol names what follows it up to the next
        // symbol; for each address this is the nearest one below, of either sort.
        let mut nearest: Vec<Option<(Candidate, u16, bool)>> = vec![None; addresses.len()];
        let entry = size_of::<Elf::Sym>();
        let mut buffer = vec![0; BUFFER_BYTES / entry * entry];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(table.offset))?;
        let mut rest = file.take(table.size);
        loop {
            let filled = fill(&mut rest, &mut buffer)?;
            let count = filled / entry;
            if count == 0 {
                break;
            }
            let symbols = pod::slice_from_bytes::<Elf::Sym>(&buffer, count);
            let Ok((symbols, _)) = symbols else { break };
            for symbol in symbols {
                self.consider::<Elf>(symbol, addresses, &mut sized, &mut nearest);
            }
        }
        let mut below: Option<(Candidate, u16, bool)> = None;
        for (place, &address) in addresses.iter().enumerate() {
            if let Some(new) = nearest[place] {
                below = match below {
                    Some(old) if old.0.address > new.0.address => Some(old),
                    _ => Some(new),
                };
            }
            if let (None, Some((candidate, section, false))) = (sized[place], below)
                && self.section_holds(section, address)
            {
                sized[place] = Some(candidate);
            }
        }
        Ok(sized)
    }

    fn consider<Elf: FileHeader<Endian = Endianness>>(
        &self,
        symbol: &Elf::Sym,
        addresses: &[u64],
        sized: &mut [Option<Candidate>],
        nearest: &mut [Option<(Candidate, u16, bool)>],
    ) {
        let endian = self.endian;
        let section = symbol.st_shndx(endian).0;
        let kind = symbol.st_type();
        let is_code = kind == elf::STT_FUNC || kind == elf::STT_GNU_IFUNC;
        // Labels of assembly have no type; what else has none is in no section.
        if section == elf::SHN_UNDEF.0 || !(is_code || kind == elf::STT_NOTYPE) {
            return;
        }
        let start: u64 = symbol.st_value(endian).into();
        let size: u64 = symbol.st_size(endian).into();
        let candidate = Candidate {
            address: start,
            name: symbol.st_name(endian),
            is_local: symbol.is_local(),
        };
        let from = addresses.partition_point(|&address| address < start);
        if size > 0 {
            let end = start.saturating_add(size);
            // One by one: nearly all symbols hold no address at all.
            let held = addresses[from..].iter().zip(&mut sized[from..]);
            for (_, best) in held.take_while(|(address, _)| **address < end) {
                if best.is_none_or(|best| candidate.is_better_than(&best)) {
                    *best = Some(candidate);
                }
            }
        }
        if let Some(best) = nearest.get_mut(from) {
            let is_sized = size > 0;
            let wins = |(best, _, best_sized): (Candidate, u16, bool)| {
                (start, is_sized) > (best.address, best_sized)
                    || (start, is_sized) == (best.address, best_sized)
                        && candidate.is_better_than(&best)
            };
            if best.is_none_or(wins) {
                *best = Some((candidate, section, is_sized));
            }
        }
    }

    fn section_holds(&self, section: u16, address: u64) -> bool {
        self.sections
            .get(usize::from(section))
            .and_then(|section| Some(address.checked_sub(section.address)? < section.size))
            .unwrap_or(false)
    }

    /// Reads the names in the order in which they stand in the file.
    pub(super) fn read_names(
        &self,
        table: SymbolTable,
        found: &[Option<Candidate>],
    ) -> std::io::Result<Vec<Option<String>>> {
        let mut names = vec![None; found.len()];
        let mut order: Vec<(u32, usize)> = found
            .iter()
            .enumerate()
            .filter_map(|(place, candidate)| Some((candidate.as_ref()?.name, place)))
            .collect();
        order.sort_unstable();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(table.names_offset))?;
        let mut reader = BufReader::with_capacity(NAMES_BUFFER_BYTES, file);
        let (mut at, mut name) = (0u64, Vec::new());
        let mut last: Option<(u32, usize)> = None;
        for (offset, place) in order {
            if let Some((_, same)) = last.filter(|&(last, _)| last == offset) {
                names[place] = names[same].clone();
                continue;
            }
            last = Some((offset, place));
            let offset = u64::from(offset);
            if offset >= table.names_size {
                continue;
            }
            // Within the buffer this moves nothing but an index.
            reader.seek_relative(offset.wrapping_sub(at) as i64)?;
            name.clear();
            let most = MAX_NAME_BYTES.min(table.names_size - offset);
            let read = reader.by_ref().take(most).read_until(0, &mut name)?;
            at = offset + read as u64;
            if name.last() == Some(&0) {
                name.pop();
            }
            if !name.is_empty() {
                names[place] = Some(String::from_utf8_lossy(&name).into_owned());
            }
        }
        Ok(names)
    }
}

impl Candidate {
    /// The inner of two symbols, else the one that others can see.
    fn is_better_than(&self, other: &Candidate) -> bool {
        (self.address, !self.is_local) > (other.address, !other.is_local)
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// 2,730 symbols a read: the read itself no longer counts.
const BUFFER_BYTES: usize = 64 << 10;

/// Names of neighbours stand together, and Rust's are some 100 bytes.
const NAMES_BUFFER_BYTES: usize = 16 << 10;

/// Longer than any compiler writes; a table without end stops here.
const MAX_NAME_BYTES: u64 = 64 << 10;
