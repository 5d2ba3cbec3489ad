//! Profiles by name: which there are, and taking one now.
//!
//! Context: cold. Invariant: what is allocated here is left out of what is taken.
//! A profile that is added to this crate adds its `Source` to
//! the registry below and is then served, listed and looked up like the others.
//!
//! Source: Go's runtime/pprof has `Lookup`, `Profiles` and `WriteTo`.

use std::io::Write;
use std::time::Duration;

use everprof_profile::{pprof, text};

use crate::error::{Error, Kind};
use crate::start::LeftOut;
use crate::{assemble, heap};

/// A profile as it was when it was taken: `heap`, `allocs`.
///
/// ```
/// let before = everprof::profile::lookup("heap").expect("there is one");
/// let kept = vec![0_u8; 10 << 20];
/// let grown = everprof::profile::lookup("heap").expect("there is one").delta(&before)?;
///
/// let mut file = Vec::new();
/// grown.write_to(&mut file)?; // for `go tool pprof`, `everprof top`, …
/// # drop(kept);
/// # Ok::<(), everprof::Error>(())
/// ```
#[derive(Debug)]
pub struct Profile {
    source: &'static Source,
    data: everprof_profile::Profile,
}

/// Takes the profile of this name, with the names of its functions; none if
/// there is no such profile.
///
/// # Overhead
///
/// Counters are copied and symbol tables read, on this thread; no thread that
/// allocates waits. The bench `snapshot` takes, names and writes 100,000 stacks.
#[must_use]
pub fn lookup(name: &str) -> Option<Profile> {
    let _left_out = LeftOut::new();
    let source = registry().iter().find(|source| source.name == name)?;
    source.profile().ok()
}

/// Takes every profile there is, in the order of their names: each as
/// [`lookup`] does, one after the other.
#[must_use]
pub fn all() -> Vec<Profile> {
    let _left_out = LeftOut::new();
    let mut profiles: Vec<_> = registry()
        .iter()
        .filter_map(|source| source.profile().ok())
        .collect();
    profiles.sort_by_key(|profile| profile.source.name);
    profiles
}

impl Profile {
    /// Its name: the last part of its address on the endpoint.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.source.name
    }

    /// What it tells, in one sentence.
    #[must_use]
    pub fn description(&self) -> &'static str {
        self.source.description
    }

    /// Writes it as gzip'd pprof, which `go tool pprof` and most others read.
    ///
    /// # Errors
    ///
    /// Where `out` fails.
    pub fn write_to(&self, out: &mut impl Write) -> Result<(), Error> {
        let _left_out = LeftOut::new();
        Ok(pprof::encode(&self.data, out)?)
    }

    /// Writes it as text. `debug` 1 is the form that Go's programs give to
    /// `debug=1`; so is 2 where a profile has no longer one.
    ///
    /// # Errors
    ///
    /// Where `out` fails, or `debug` is 0: that is the form of
    /// [`write_to`](Self::write_to).
    pub fn write_text(&self, out: &mut impl Write, debug: u32) -> Result<(), Error> {
        if debug == 0 {
            return Err(Error::new(
                Kind::Invalid,
                "debug=0 is the binary form: call Profile::write_to, or pass 1 for text",
            ));
        }
        let _left_out = LeftOut::new();
        Ok(text::write_debug1(&self.data, self.name(), out)?)
    }

    /// What has come since `earlier`: this profile's values minus those.
    ///
    /// # Errors
    ///
    /// Where the two are of different names.
    pub fn delta(&self, earlier: &Self) -> Result<Self, Error> {
        if self.name() != earlier.name() {
            let (name, other) = (self.name(), earlier.name());
            return Err(Error::new(
                Kind::Invalid,
                format!("no delta of `{name}` and `{other}`: expected two of one name"),
            ));
        }
        let _left_out = LeftOut::new();
        Ok(Self {
            source: self.source,
            data: self.data.delta(&earlier.data)?,
        })
    }
}

/// What a profile is to show.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask {
    /// Only what is older than this.
    pub(crate) older_than: Option<Duration>,
}

/// How far addresses are turned into names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Not at all; whoever reads the profile has the binary.
    None,
    /// Functions, from the symbol tables: little time and memory.
    Table,
    /// Inlined functions and lines, from the debug information: much of both.
    Full,
}

/// One kind of profile: how it is called, and how it is taken.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// It grows, so that a difference over time has a meaning.
    pub(crate) has_delta: bool,
    /// It knows how old what it shows is.
    pub(crate) has_age: bool,
    /// Its stacks now.
    pub(crate) count: fn() -> usize,
    /// Takes it, with addresses and no names.
    pub(crate) take: fn(&Ask) -> Result<everprof_profile::Profile, Error>,
}

impl Source {
    fn profile(&'static self) -> Result<Profile, Error> {
        let data = (self.take)(&Ask::default())?;
        Ok(self.finished(data))
    }

    /// What was taken, with the names of its functions.
    pub(crate) fn finished(&'static self, data: everprof_profile::Profile) -> Profile {
        Profile {
            source: self,
            data: assemble::finish(data, Names::Table, &[]),
        }
    }
}

/// The profiles of this process.
pub(crate) fn registry() -> &'static [&'static Source] {
    static REGISTRY: [&Source; 2] = [&heap::ALLOCS, &heap::HEAP];
    &REGISTRY
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn profiles_are_found_by_name_only() {
        assert_eq!(lookup("heap").unwrap().name(), "heap");
        assert!(lookup("Heap").is_none() && lookup("").is_none());
        let names: Vec<_> = all().iter().map(Profile::name).collect();
        assert_eq!(names, ["allocs", "heap"]);
    }

    #[test]
    fn text_has_a_form_and_deltas_have_one_name() {
        let (heap, allocs) = (lookup("heap").unwrap(), lookup("allocs").unwrap());
        assert!(
            heap.write_text(&mut Vec::new(), 0)
                .unwrap_err()
                .is_invalid()
        );
        heap.write_text(&mut Vec::new(), 1).unwrap();
        assert!(
            heap.delta(&allocs)
                .unwrap_err()
                .to_string()
                .contains("of one name")
        );
    }
}
