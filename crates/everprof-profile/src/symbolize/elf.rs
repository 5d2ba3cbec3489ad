//! ELF: build id, addresses, and the symbol table of a file, read as a stream.
//!
//! Context: cold.
//! Invariant: any file gives names or an error, never a panic; memory is one buffer and
//! what was asked for, whatever the size of the file.
//!
//! Headers are read through `ReadCache`, which keeps what it read: a few KB. Of the symbols
//! `symbols` keeps what is asked for.

use std::fs::File;
use std::path::Path;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};

use crate::Error;

mod symbols;

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

#[cfg(test)]
mod tests;
