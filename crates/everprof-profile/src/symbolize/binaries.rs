//! Which file to read for a mapping: the one that was mapped, or one that is given instead.
//!
//! Context: cold.
//! Invariant: a file is taken only if its build id is the mapping's, where that is known.

use std::path::{Path, PathBuf};

use super::elf::ElfFile;
use crate::{Error, Mapping, MappingId, Profile};

/// Files to name addresses from, in place of the paths that a profile holds: an unstripped
/// copy of the program, the libraries of another machine.
#[derive(Clone, Debug, Default)]
pub struct Binaries {
    files: Vec<Binary>,
    /// Where the program can be read if its own path leads to it no more.
    program: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Binary {
    path: PathBuf,
    build_id: String,
}

impl Binaries {
    /// Only the paths that profiles hold.
    pub fn new() -> Binaries {
        Binaries::default()
    }

    /// As `new`; and where a mapping's path leads to another file by now, or to none, this one is
    /// read if its build id is the mapping's.
    pub(super) fn of_program(program: Option<&'static str>) -> Binaries {
        Binaries {
            program,
            ..Binaries::default()
        }
    }

    /// Takes this file for mappings of its build id. Where the file or the mapping has
    /// none, for those of its file name.
    ///
    /// # Errors
    ///
    /// [`Error::is_io`] or [`Error::is_symbols`] when it is no ELF file that can be read.
    pub fn add(&mut self, path: impl Into<PathBuf>) -> Result<(), Error> {
        let path = path.into();
        let build_id = ElfFile::open(&path)?.build_id().to_owned();
        self.files.push(Binary { path, build_id });
        Ok(())
    }

    /// Whether no file was added.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Files that no mapping of the profile would be named from.
    pub fn unused<'a>(&'a self, profile: &Profile) -> Vec<&'a Path> {
        let is_unused = |file: &&Binary| {
            !profile.mappings().any(|(_, mapping)| {
                self.for_mapping(&mapping)
                    .is_some_and(|b| b.path == file.path)
            })
        };
        self.files
            .iter()
            .filter(is_unused)
            .map(|file| &*file.path)
            .collect()
    }

    fn for_mapping(&self, mapping: &Mapping<'_>) -> Option<&Binary> {
        let same_id = |file: &&Binary| {
            !mapping.build_id.is_empty() && file.build_id.eq_ignore_ascii_case(mapping.build_id)
        };
        let same_name = |file: &&Binary| {
            let path = Path::new(mapping.file);
            (mapping.build_id.is_empty() || file.build_id.is_empty())
                && path.file_name().is_some()
                && path.file_name() == file.path.file_name()
        };
        self.files
            .iter()
            .find(same_id)
            .or_else(|| self.files.iter().find(same_name))
    }
}

/// The file of a mapping, with its addresses.
pub(super) struct Mapped {
    pub(super) path: PathBuf,
    pub(super) elf: ElfFile,
    start: u64,
    offset: u64,
}

impl Mapped {
    /// Opens the file of a mapping. `None` for mappings that are of no file.
    pub(super) fn open(
        profile: &Profile,
        id: MappingId,
        binaries: &Binaries,
    ) -> Option<Result<Mapped, Error>> {
        let mapping = profile.mapping(id);
        let path = match binaries.for_mapping(&mapping) {
            Some(file) => file.path.clone(),
            None if mapping.file.starts_with('/') => PathBuf::from(mapping.file),
            None => return None,
        };
        let opened = Mapped::of_file(&mapping, path).or_else(|error| match binaries.program {
            // Without build ids nothing says that it is the same. Not the first mapping alone:
            // the path has another name once the file is deleted, and so another mapping.
            Some(program) if !mapping.build_id.is_empty() => {
                Mapped::of_file(&mapping, program.into()).map_err(|_| error)
            }
            _ => Err(error),
        });
        Some(opened)
    }

    fn of_file(mapping: &Mapping<'_>, path: PathBuf) -> Result<Mapped, Error> {
        let elf = ElfFile::open(&path)?;
        let (expected, found) = (mapping.build_id, elf.build_id());
        if !expected.is_empty() && !expected.eq_ignore_ascii_case(found) {
            return Err(Error::symbols(format!(
                "`{}` has build id `{found}`, but `{expected}` was recorded: its addresses \
                 stay unnamed until that file is given",
                path.display(),
            )));
        }
        Ok(Mapped {
            path,
            elf,
            start: mapping.start,
            offset: mapping.offset,
        })
    }

    /// The address in the file's tables of an address in the process.
    pub(super) fn address_of(&self, address: u64) -> Option<u64> {
        let into = address.checked_sub(self.start)?;
        self.elf.address_of(into.checked_add(self.offset)?)
    }
}
