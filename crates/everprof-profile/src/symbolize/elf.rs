//! ELF: build id, addresses, and the symbol table of a file, read as a stream.
//!
//! Context: cold.
//! Invariant: any file gives names or an error, never a panic; memory is one buffer and
//! what was asked for, whatever the size of the file.
//! Source: the tables of a 97 MB program are 20 MB. To name 5,000 addresses it is enough
//! to pass over the symbols once, keep the best one of each address, and read the names
//! of these. Headers are read through `ReadCache`, which keeps what it read: a few KB.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, FileKind, ReadCache, ReadRef, pod};

use crate::Error;

/// What of an ELF file is needed to name addresses in it.
#[derive(Debug)]
pub(super) struct ElfFile {
    file: File,
    path: String,
    is_64: bool,
    endian: Endianness,
    build_id: String,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    symbols: Option<SymbolTable>,
}

/// A part of the file that is loaded.
#[derive(Clone, Copy, Debug)]
struct Segment {
    file_offset: u64,
    file_size: u64,
    address: u64,
    is_executable: bool,
}

/// Addresses of a section, in the order of the section headers.
#[derive(Clone, Copy, Debug)]
struct Section {
    address: u64,
    size: u64,
}

/// Where the symbols and their names stand in the file.
#[derive(Clone, Copy, Debug)]
struct SymbolTable {
    offset: u64,
    size: u64,
    names_offset: u64,
    names_size: u64,
}

/// The best symbol so far of an address.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    address: u64,
    /// Where its name stands among the names.
    name: u32,
    is_local: bool,
}

impl ElfFile {
    /// Opens a file and reads its headers.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is no regular file or no ELF file.
    pub(super) fn open(path: &Path) -> Result<ElfFile, Error> {
        let shown = path.display().to_string();
        let io = |error| Error::io(format!("reading the symbols of `{shown}`"), error);
        // A pipe or a device could block, or do something.
        if !path.metadata().map_err(io)?.is_file() {
            return Err(Error::symbols(format!("`{shown}` is not a regular file")));
        }
        let file = File::open(path).map_err(io)?;
        let cache = ReadCache::new(&file);
        let no_elf = |error: object::Error| {
            Error::symbols(format!("`{shown}` is not an ELF file that can be read"))
                .with_source(error)
        };
        let headers = match FileKind::parse(&cache).map_err(no_elf)? {
            FileKind::Elf64 => headers::<FileHeader64<Endianness>>(&cache),
            FileKind::Elf32 => headers::<FileHeader32<Endianness>>(&cache),
            kind => {
                return Err(Error::symbols(format!(
                    "`{shown}` is {kind:?}, expected an ELF file"
                )));
            }
        };
        let Headers {
            is_64,
            endian,
            build_id,
            segments,
            sections,
            symbols,
        } = headers.map_err(no_elf)?;
        drop(cache);
        Ok(ElfFile {
            file,
            path: shown,
            is_64,
            endian,
            build_id,
            segments,
            sections,
            symbols,
        })
    }

    /// The build id in lower-case hexadecimal; empty if the file has none.
    pub(super) fn build_id(&self) -> &str {
        &self.build_id
    }

    /// The address, as the file's tables have it, of what is loaded from an offset of the
    /// file. Position-independent programs and prelinked libraries differ from the process
    /// by a constant; through the file they do not differ.
    pub(super) fn address_of(&self, file_offset: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            file_offset
                .checked_sub(segment.file_offset)
                .is_some_and(|into| into < segment.file_size)
        };
        // Where segments share bytes of the file, code is in the executable one.
        let found = self
            .segments
            .iter()
            .filter(|segment| segment.is_executable)
            .find(holds);
        let segment = found.or_else(|| self.segments.iter().find(holds))?;
        segment
            .address
            .checked_add(file_offset - segment.file_offset)
    }

    /// The symbol of each address, as the linker names it. Addresses must be in order.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub(super) fn names(&self, addresses: &[u64]) -> Result<Vec<Option<String>>, Error> {
        let io = |error| Error::io(format!("reading the symbols of `{}`", self.path), error);
        let Some(table) = self.symbols else {
            return Ok(vec![None; addresses.len()]);
        };
        let found = if self.is_64 {
            self.find::<FileHeader64<Endianness>>(table, addresses)
                .map_err(io)?
        } else {
            self.find::<FileHeader32<Endianness>>(table, addresses)
                .map_err(io)?
        };
        self.read_names(table, &found).map_err(io)
    }

    /// Passes over the symbol table once.
    fn find<Elf: FileHeader<Endian = Endianness>>(
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
    fn read_names(
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

struct Headers {
    is_64: bool,
    endian: Endianness,
    build_id: String,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    symbols: Option<SymbolTable>,
}

fn headers<'data, Elf: FileHeader<Endian = Endianness>>(
    data: impl ReadRef<'data>,
) -> Result<Headers, object::Error> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let programs = header.program_headers(endian, data)?;
    let segments = programs
        .iter()
        .filter(|program| program.p_type(endian) == elf::PT_LOAD)
        .map(|program| Segment {
            file_offset: program.p_offset(endian).into(),
            file_size: program.p_filesz(endian).into(),
            address: program.p_vaddr(endian).into(),
            is_executable: program.p_flags(endian).contains(elf::PF_X),
        })
        .collect();
    let mut build_id = String::new();
    for program in programs {
        let Ok(Some(mut notes)) = program.notes(endian, data) else {
            continue;
        };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
                build_id = note
                    .desc()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
            }
        }
    }
    let headers = header.section_headers(endian, data)?;
    let sections = headers
        .iter()
        .map(|section| Section {
            address: section.sh_addr(endian).into(),
            size: section.sh_size(endian).into(),
        })
        .collect();
    let of_kind = |kind| {
        headers.iter().find_map(|section| {
            let entry: u64 = section.sh_entsize(endian).into();
            if section.sh_type(endian) != kind || entry != size_of::<Elf::Sym>() as u64 {
                return None;
            }
            let names = headers.get(section.sh_link(endian) as usize)?;
            Some(SymbolTable {
                offset: section.sh_offset(endian).into(),
                size: section.sh_size(endian).into(),
                names_offset: names.sh_offset(endian).into(),
                names_size: names.sh_size(endian).into(),
            })
        })
    };
    Ok(Headers {
        is_64: header.is_class_64(),
        endian,
        build_id,
        segments,
        sections,
        symbols: of_kind(elf::SHT_SYMTAB).or_else(|| of_kind(elf::SHT_DYNSYM)),
    })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;

    use object::write::{Object, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, SymbolFlags, SymbolKind, SymbolScope};

    use super::*;

    /// A file in the target directory, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, bytes: &[u8]) -> Scratch {
            let path = std::env::temp_dir().join(format!("everprof-{}-{name}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            // Nothing to do if it is gone already.
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// Name, address, size, whether others see it.
    type Spec = (&'static str, u64, u64, bool);

    /// A relocatable file, in which the address of a symbol is its place in its section.
    fn object(architecture: Architecture, endian: object::Endianness, specs: &[Spec]) -> Vec<u8> {
        let mut file = Object::new(BinaryFormat::Elf, architecture, endian);
        let text = file.section_id(object::write::StandardSection::Text);
        file.append_section_data(text, &[0; 0x400], 16);
        for &(name, value, size, is_global) in specs {
            file.add_symbol(Symbol {
                name: name.into(),
                value,
                size,
                kind: SymbolKind::Text,
                scope: if is_global {
                    SymbolScope::Dynamic
                } else {
                    SymbolScope::Compilation
                },
                weak: false,
                section: SymbolSection::Section(text),
                flags: SymbolFlags::None,
            });
        }
        file.write().unwrap()
    }

    fn names_of(bytes: &[u8], addresses: &[u64]) -> Vec<String> {
        let name = format!("{}-{:p}", addresses.len(), bytes);
        let file = Scratch::new(&name, bytes);
        let elf = ElfFile::open(&file.0).unwrap();
        let names = elf.names(addresses).unwrap();
        names.into_iter().map(Option::unwrap_or_default).collect()
    }

    const SPECS: [Spec; 7] = [
        ("outer", 0x10, 0x40, true),
        ("inner", 0x20, 0x10, false),
        ("local_alias", 0x80, 0x10, false),
        ("global_alias", 0x80, 0x10, true),
        ("unsized", 0x100, 0, true),
        ("after", 0x180, 0x10, true),
        ("last_unsized", 0x300, 0, false),
    ];

    #[test]
    fn nearest_symbol_that_holds_the_address_wins_in_every_class_and_order() {
        for architecture in [
            Architecture::X86_64,
            Architecture::I386,
            Architecture::PowerPc,
        ] {
            let endian = match architecture {
                Architecture::PowerPc => object::Endianness::Big,
                _ => object::Endianness::Little,
            };
            let mut specs = SPECS;
            for _ in 0..2 {
                let found = names_of(
                    &object(architecture, endian, &specs),
                    &[
                        0, 0xf, 0x10, 0x1f, 0x20, 0x2f, 0x30, 0x4f, 0x50, 0x7f, 0x80, 0x8f,
                    ],
                );
                let expected = [
                    "",
                    "",
                    "outer",
                    "outer",
                    "inner",
                    "inner",
                    "outer",
                    "outer",
                    "",
                    "",
                    "global_alias",
                    "global_alias",
                ];
                assert_eq!(found, expected, "{architecture:?}");
                specs.reverse();
            }
        }
    }

    #[test]
    fn symbol_without_size_names_what_follows_up_to_the_next_symbol_or_section() {
        let bytes = object(Architecture::X86_64, object::Endianness::Little, &SPECS);
        let found = names_of(
            &bytes,
            &[0x90, 0x100, 0x17f, 0x180, 0x190, 0x300, 0x3ff, 0x400],
        );
        let expected = [
            "",
            "unsized",
            "unsized",
            "after",
            "",
            "last_unsized",
            "last_unsized",
            "",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn equal_addresses_get_equal_names() {
        let bytes = object(Architecture::X86_64, object::Endianness::Little, &SPECS);
        assert_eq!(names_of(&bytes, &[0x10, 0x10, 0x11]), ["outer"; 3]);
    }

    #[test]
    fn damaged_files_give_errors_or_names_but_no_panic() {
        let bytes = object(Architecture::X86_64, object::Endianness::Little, &SPECS);
        for at in 0..bytes.len() {
            for with in [0xff, 0x80, 0x01] {
                let mut damaged = bytes.clone();
                damaged[at] ^= with;
                damaged.truncate(bytes.len() - at % 7);
                let file = Scratch::new("damaged", &damaged);
                if let Ok(elf) = ElfFile::open(&file.0) {
                    let _ = elf.names(&[0, 0x10, 0x120, u64::MAX]);
                    elf.address_of(u64::MAX);
                }
            }
        }
    }

    #[test]
    fn program_without_symbols_is_called_stripped() {
        let file = Scratch::new(
            "stripped",
            &object(Architecture::X86_64, object::Endianness::Little, &[]),
        );
        let mut profile = crate::Profile::new(&[("n", "count")]);
        for _ in 0..2 {
            let path = file.0.to_str().unwrap();
            let mapping = crate::Mapping {
                limit: 99,
                file: path,
                ..crate::Mapping::default()
            };
            let mapping = profile.add_mapping(mapping);
            profile.add_location(7, Some(mapping));
        }
        let outcome = crate::symbolize::names(&mut profile);
        assert_eq!(
            (outcome.named, outcome.unnamed, outcome.problems.len()),
            (0, 2, 1)
        );
        assert!(outcome.problems[0].contains("no symbol for any of its 1 addresses"));
        assert!(outcome.problems[0].contains("--binary"));
    }

    #[test]
    fn own_program_has_segments_and_names() {
        let elf = ElfFile::open(&std::env::current_exe().unwrap());
        if cfg!(target_os = "linux") {
            let elf = elf.unwrap();
            let code = elf
                .segments
                .iter()
                .find(|segment| segment.is_executable)
                .unwrap();
            assert_eq!(elf.address_of(code.file_offset + 5), Some(code.address + 5));
            assert_eq!(elf.address_of(u64::MAX), None);
        }
    }
}
