//! Profiles that a program adds to everprof's own while it runs.
//!
//! Context: cold. Invariant: a name leads to one profile, which is listed as long as
//! whoever added it keeps it.
//!
//! Source: Go's `runtime/pprof.NewProfile`, which panics where a name is taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::error::{Error, Kind};
use crate::profile::{Ask, Handle, Taken, Time, registry};

/// What a profile is that was added.
pub(crate) trait Added: Send + Sync {
    /// What it is called. Kept by those that are taken, which do not keep the rest.
    fn about(&self) -> &Arc<About>;
    /// Its stacks now.
    fn count(&self) -> usize;
    /// Takes it, by addresses.
    fn take(&self, ask: &Ask<'_>) -> Result<Taken, Error>;
}

/// What there is to say about one.
#[derive(Debug)]
pub(crate) struct About {
    /// Its name: the last part of its address.
    pub(crate) name: String,
    /// What it tells, in one sentence.
    pub(crate) description: String,
    /// What time it is of.
    pub(crate) time: Time,
}

/// Names with a meaning of their own on the endpoint, now or to come.
const KEPT: [&str; 13] = [
    "allocs",
    "block",
    "cmdline",
    "goroutine",
    "heap",
    "mutex",
    "profile",
    "symbol",
    "taskblock",
    "tasks",
    "threadcreate",
    "threads",
    "trace",
];

/// The longest name: it becomes a file's, with more behind it.
const MOST_BYTES: usize = 64;

/// Adds a profile, for as long as it is kept.
///
/// # Errors
///
/// Where another has its name.
pub(crate) fn add(added: &Arc<dyn Added>) -> Result<(), Error> {
    let mut all = lock();
    all.retain(|other| other.strong_count() > 0);
    let name = &added.about().name;
    let is_taken = registry().iter().any(|source| source.name == *name)
        || all
            .iter()
            .filter_map(Weak::upgrade)
            .any(|other| other.about().name == *name);
    if is_taken {
        return Err(Error::new(
            Kind::Busy,
            format!("a profile `{name}` exists already: give this one another name"),
        ));
    }
    all.push(Arc::downgrade(added));
    Ok(())
}

/// Takes a profile away, also from those who are just taking it: its name is free.
pub(crate) fn remove(name: &str) {
    lock().retain(|other| {
        let kept = other.upgrade();
        kept.is_some_and(|other| other.about().name != name)
    });
}

/// All that were added and are kept.
pub(crate) fn all() -> Vec<Handle> {
    let added: Vec<_> = lock().iter().filter_map(Weak::upgrade).collect();
    added.into_iter().map(Handle::added).collect()
}

fn lock() -> MutexGuard<'static, Vec<Weak<dyn Added>>> {
    static ALL: Mutex<Vec<Weak<dyn Added>>> = Mutex::new(Vec::new());
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a profile cannot have a name. In constants, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadName {
    /// Nothing, or more than `MOST_BYTES`.
    Length,
    /// Something else than letters, digits, `-`, `_` and `.`.
    Character,
    /// One of everprof's own.
    Kept,
}

impl BadName {
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Length => "expected a name of 1 to 64 bytes",
            Self::Character => {
                "expected a name of letters, digits, `-`, `_` and `.`: it is a part of an \
                 address and of a file's name"
            }
            Self::Kept => "everprof has a profile or page of this name: expected another",
        }
    }

    pub(crate) fn error(self, name: &str) -> Error {
        Error::new(
            Kind::Invalid,
            format!("profile `{name}`: {}", self.expected()),
        )
    }
}

/// Whether a profile may be called so.
pub(crate) const fn check(name: &str) -> Result<(), BadName> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > MOST_BYTES {
        return Err(BadName::Length);
    }
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphanumeric() && !matches!(bytes[at], b'-' | b'_' | b'.') {
            return Err(BadName::Character);
        }
        at += 1;
    }
    let mut kept = 0;
    while kept < KEPT.len() {
        if is_same(bytes, KEPT[kept].as_bytes()) {
            return Err(BadName::Kept);
        }
        kept += 1;
    }
    Ok(())
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_addresses_and_none_of_ours() {
        assert_eq!(check("connections"), Ok(()));
        assert_eq!(check("open-files_v2.x"), Ok(()));
        assert_eq!(check(""), Err(BadName::Length));
        assert_eq!(check(&"a".repeat(65)), Err(BadName::Length));
        for name in ["a b", "a/b", "ü", "a?"] {
            assert_eq!(check(name), Err(BadName::Character), "{name}");
        }
        for source in registry() {
            assert_eq!(check(source.name), Err(BadName::Kept), "{}", source.name);
        }
        assert_eq!(check("heaps"), Ok(()));
    }
}
