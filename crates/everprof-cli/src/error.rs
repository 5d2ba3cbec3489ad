//! The command line's error: what was given, what was expected, what to type next.
//!
//! Invariant: the message names the input; a hint, where there is one, is a command.

use std::error::Error as _;
use std::fmt;
use std::io;

/// Why a command did not do its job.
#[derive(Debug)]
pub struct Error {
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// What was given, and what was expected.
    pub fn new(message: impl Into<String>) -> Error {
        Error {
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// Adds what to type next.
    #[must_use]
    pub fn hint(mut self, command: impl Into<String>) -> Error {
        self.hint = Some(command.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// Whether the reader of our output has gone, as `head` does: no reason to complain.
    pub fn is_broken_pipe(&self) -> bool {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.kind() == io::ErrorKind::BrokenPipe;
            }
            cause = error.source();
        }
        false
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = crate::output::printable(&self.message);
        let mut cause = self.source();
        while let Some(error) = cause {
            // Many errors say what their cause says.
            let words = crate::output::printable(&error.to_string());
            if !said.contains(&words) {
                said.push_str(": ");
                said.push_str(&words);
            }
            cause = error.source();
        }
        f.write_str(&said)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  try: {}", crate::output::printable(hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<everprof_profile::Error> for Error {
    fn from(source: everprof_profile::Error) -> Error {
        Error::new(source.to_string()).because(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_is_told_once_and_the_hint_last() {
        let error = Error::new("cannot read `a`")
            .because(io::Error::other("disk on fire"))
            .hint("everprof top b");
        assert_eq!(
            error.to_string(),
            "cannot read `a`: disk on fire\n  try: everprof top b"
        );
        let error = Error::new("a: b").because(io::Error::other("b"));
        assert_eq!(error.to_string(), "a: b");
    }

    #[test]
    fn broken_pipe_is_known_through_its_wrappers() {
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Error::from(everprof_profile::Error::from(pipe)).is_broken_pipe());
        assert!(!Error::new("pipe").is_broken_pipe());
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let error = Error::new("`\u{1b}[2J`");
        assert_eq!(error.to_string(), "`\\u{1b}[2J`");
    }
}
