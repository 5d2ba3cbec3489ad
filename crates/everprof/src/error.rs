//! The one error of this crate: what was asked, what was expected, what to do.
//!
//! Context: cold. Invariant: a message names the input; the cause, where there is
//! one, is the `source`.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// Why something asked of everprof could not be done.
///
/// Its text names the input and the remedy; [`source`](StdError::source) is the
/// cause, where another error was one.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Another program, or this one, listens on the address already; or what there can
    /// be one of is there.
    Busy,
    /// The address is open to other machines.
    Exposed,
    /// An address, option or setting that cannot be read.
    Invalid,
    /// The operating system refused.
    Io,
    /// A profile could not be taken, joined or written.
    Profile,
    /// The platform or this version cannot do it.
    Unsupported,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
        }))
    }

    pub(crate) fn caused_by(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut inner = self.0;
        inner.source = Some(source.into());
        Self(inner)
    }

    pub(crate) fn io(what: &str, source: io::Error) -> Self {
        Self::new(Kind::Io, format!("{what}: {source}")).caused_by(source)
    }

    /// The address to listen on is in use, or another CPU profile is being taken.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.0.kind == Kind::Busy
    }

    /// The address can be reached from other machines, and the code did not say
    /// [`serve_insecurely`](crate::serve_insecurely).
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.0.kind == Kind::Exposed
    }

    /// What was given cannot be read.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.0.kind == Kind::Invalid
    }

    /// Reading or writing failed.
    #[must_use]
    pub fn is_io(&self) -> bool {
        self.0.kind == Kind::Io
    }

    /// This platform, or this version of everprof, cannot do it.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.0.kind == Kind::Unsupported
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// As `Display`: the error that `main` returns is printed by this.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

impl From<everprof_profile::Error> for Error {
    fn from(source: everprof_profile::Error) -> Self {
        let kind = if source.is_io() {
            Kind::Io
        } else {
            Kind::Profile
        };
        Self::new(kind, source.to_string()).caused_by(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word_wide_and_can_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
        assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    }

    #[test]
    fn its_cause_is_kept() {
        let error = Error::io("write", io::Error::from(io::ErrorKind::StorageFull));
        assert!(error.is_io() && !error.is_busy());
        assert!(error.source().is_some_and(|s| s.is::<io::Error>()));
        assert!(error.to_string().starts_with("write: "));
    }
}
