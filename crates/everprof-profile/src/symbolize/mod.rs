//! Symbolize: gives locations the names of their functions, from the files mapped there.
//!
//! Context: cold.
//! Invariant: an address is named only from a file whose build id is the mapping's, where
//! that is known; what could not be named stays an address, and a comment says why.
//! Source: two ways, because they differ by 50 times in cost: [`names`] reads the symbol
//! table (10 ms, 1 MB for 5,000 addresses of a 97 MB program), [`full`] the debug
//! information (360 ms, 60 MB) and gives inlined functions, files and lines.
//!
//! Who names many profiles of one process keeps what files have said ([`Known`]).
//!
//! A mapping whose locations are all named gets `has_functions`. Back ends then do not
//! look for more: leave profiles unnamed for those that hold the debug information.

mod binaries;
mod demangle;
mod elf;
mod full;
mod known;
mod names;
pub(crate) mod origin;

pub use binaries::Binaries;
pub use demangle::demangle;
pub use known::Known;

use crate::Profile;

/// What came of naming a profile's locations.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// How many locations got their names now.
    pub named: usize,
    /// How many locations in mappings of files have no name still.
    pub unnamed: usize,
    /// What was in the way: one sentence a file. The profile's comments have them too.
    pub problems: Vec<String>,
}

/// Names the locations that have no name yet, from the symbol tables of the mapped files.
///
/// Takes little memory and no debug information: one function a location, that into which
/// others were inlined; no file, no line.
pub fn names(profile: &mut Profile) -> Outcome {
    names_from(profile, &Binaries::default())
}

/// [`names`], with a say in which files to read.
pub fn names_from(profile: &mut Profile, binaries: &Binaries) -> Outcome {
    names::run(profile, binaries, &mut Known::new(0))
}

/// Gives each location all its frames with files and lines, from the debug information of
/// the mapped files or of the files that they link to; where there is none, its name from
/// the symbol table. Locations that have lines already stay as they are; those that only
/// have a name get more where there is more.
///
/// Takes much memory for large programs, so better not in the process that is measured.
/// The files are mapped, and must not be truncated meanwhile.
pub fn full(profile: &mut Profile) -> Outcome {
    full_from(profile, &Binaries::default())
}

/// [`full`], with a say in which files to read.
pub fn full_from(profile: &mut Profile, binaries: &Binaries) -> Outcome {
    full::run(profile, binaries, &mut Known::new(0))
}

impl Known {
    /// As [`names`](names()), from what is known as far as it goes.
    pub fn names(&mut self, profile: &mut Profile) -> Outcome {
        names::run(profile, &self.binaries(), self)
    }

    /// As [`full`](full()), from what is known as far as it goes.
    pub fn full(&mut self, profile: &mut Profile) -> Outcome {
        full::run(profile, &self.binaries(), self)
    }
}
