//! The crate's one error: what was given, what was expected, what to do.
//!
//! Context: cold.
//! Invariant: a message names its input; the cause, where there is one, is the `source`.

use std::fmt;
use std::io;

/// Why a profile could not be read, written, joined or named.
///
/// Opaque, so that causes may be added. The predicates tell what a program may want to
/// act upon; [`std::error::Error::source`] tells the cause.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Io,
    Malformed,
    Limit,
    Mismatch,
    Pattern,
    Symbols,
}

impl Error {
    /// Reading or writing failed.
    pub fn is_io(&self) -> bool {
        self.0.kind == Kind::Io
    }

    /// The input is no profile, or a damaged one.
    pub fn is_malformed(&self) -> bool {
        self.0.kind == Kind::Malformed
    }

    /// The input is larger than the caller's limits.
    pub fn is_limit(&self) -> bool {
        self.0.kind == Kind::Limit
    }

    /// Two profiles do not have the same sample types.
    pub fn is_mismatch(&self) -> bool {
        self.0.kind == Kind::Mismatch
    }

    /// A filter's regular expression or label could not be read.
    pub fn is_pattern(&self) -> bool {
        self.0.kind == Kind::Pattern
    }

    /// A file's symbols could not be read.
    pub fn is_symbols(&self) -> bool {
        self.0.kind == Kind::Symbols
    }

    /// An I/O error while doing `what`.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Error {
        Error::new(Kind::Io, what).with_source(source)
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Error {
        Error::new(Kind::Malformed, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Error {
        Error::new(Kind::Limit, message)
    }

    pub(crate) fn mismatch(message: impl Into<String>) -> Error {
        Error::new(Kind::Mismatch, message)
    }

    pub(crate) fn pattern(message: impl Into<String>) -> Error {
        Error::new(Kind::Pattern, message)
    }

    pub(crate) fn symbols(message: impl Into<String>) -> Error {
        Error::new(Kind::Symbols, message)
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        self.0.source = Some(source.into());
        self
    }

    fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<io::Error> for Error {
    /// For writers: what failed is the write.
    fn from(source: io::Error) -> Error {
        Error::io("writing the profile", source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn cause_is_kept_and_shown() {
        let error = Error::io("reading `a.pb.gz`", io::Error::other("disk on fire"));
        assert!(error.is_io() && !error.is_malformed());
        assert_eq!(error.to_string(), "reading `a.pb.gz`: disk on fire");
        assert!(error.source().is_some());
    }

    #[test]
    fn error_is_one_word_wide_and_crosses_threads() {
        fn sendable<T: Send + Sync + 'static>() {}
        sendable::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
