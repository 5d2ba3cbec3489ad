//! What stands in the way of a run, and what the user can do about it.

use std::error::Error as _;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fmt, io};

/// Everprof's own failure, misuse among them. This and the other two are as with `env`, `nice`,
/// `timeout` and the shells.
pub(super) const OWN_FAILURE: u8 = 125;
/// The program is there but cannot be run.
const CANNOT_RUN: u8 = 126;
/// There is no such program.
const NOT_FOUND: u8 = 127;

/// Why a run did not begin, or did not do its job.
#[derive(Debug)]
pub struct Error {
    code: u8,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    fn new(code: u8, message: String) -> Self {
        Self {
            code,
            message,
            source: None,
        }
    }

    fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    pub(crate) fn not_found(name: &OsStr) -> Self {
        Self::new(NOT_FOUND, format!("`{}`: no such program", name.display()))
    }

    pub(crate) fn no_interpreter(script: &Path, interpreter: &Path) -> Self {
        let (script, interpreter) = (script.display(), interpreter.display());
        Self::new(
            NOT_FOUND,
            format!("`{script}` asks for the interpreter `{interpreter}`: no such program"),
        )
    }

    pub(crate) fn not_executable(path: &Path, why: &str) -> Self {
        Self::new(
            CANNOT_RUN,
            format!("`{}` cannot be executed: {why}", path.display()),
        )
    }

    pub(crate) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::new(CANNOT_RUN, format!("`{}` cannot be read", path.display())).because(source)
    }

    pub(crate) fn damaged(path: &Path, source: object::Error) -> Self {
        Self::new(
            CANNOT_RUN,
            format!("`{}` is no sound ELF executable", path.display()),
        )
        .because(source)
    }

    pub(crate) fn static_binary(path: &Path) -> Self {
        Self::new(
            OWN_FAILURE,
            format!(
                "`{}` is statically linked, so nothing can be loaded into it. Build it for a \
                 dynamic target (for Rust on musl: RUSTFLAGS=\"-C target-feature=-crt-static\"), or \
                 link everprof into it: #[global_allocator] static ALLOC: everprof::Alloc = \
                 everprof::Alloc::system();",
                path.display()
            ),
        )
    }

    pub(crate) fn privileged(path: &Path, what: &str) -> Self {
        Self::new(
            OWN_FAILURE,
            format!(
                "`{}` is {what}: the loader takes no preloaded library into a program that gains \
                 rights. Run it as the user it changes to, on a copy without that privilege",
                path.display()
            ),
        )
    }

    pub(crate) fn other_machine(path: &Path, theirs: &str, ours: &str) -> Self {
        Self::new(
            OWN_FAILURE,
            format!(
                "`{}` is a {theirs} program and this everprof profiles {ours} ones: install \
                 everprof for that target",
                path.display()
            ),
        )
    }

    pub(crate) fn other_libc(path: &Path, loader: &str) -> Self {
        let ours = if cfg!(target_env = "musl") {
            "musl"
        } else {
            "glibc"
        };
        Self::new(
            OWN_FAILURE,
            format!(
                "`{}` is loaded by {loader}, and this everprof was built for {ours}: build \
                 everprof for the program's C library, or link everprof::Alloc into the program",
                path.display()
            ),
        )
    }

    /// Everprof itself could not do something.
    pub(crate) fn own(
        what: String,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::new(OWN_FAILURE, what).because(source)
    }

    /// The directory for the profiles does not do.
    pub(crate) fn output(directory: &Path, source: io::Error) -> Self {
        let directory = directory.display();
        let what = format!("`{directory}` cannot take the profiles; choose another with -o DIR");
        Self::own(what, source)
    }

    /// Profiles could not be written where they should.
    pub(crate) fn unwritten(directory: &Path, source: io::Error, kept: Option<&PathBuf>) -> Self {
        let directory = directory.display();
        let what = match kept {
            Some(kept) => format!(
                "the profiles could not be written to `{directory}` and are in `{}` instead",
                kept.display()
            ),
            None => format!(
                "the profiles could not be written to `{directory}`, nor to the temporary \
                 directory, and are lost"
            ),
        };
        Self::own(what, source)
    }

    /// A process's memory makes no profile.
    pub(crate) fn unread(executable: &Path, source: everprof::Error) -> Self {
        Self::own(
            format!("the records of `{}` cannot be read", executable.display()),
            source,
        )
    }

    /// The program ran without us.
    pub(crate) fn not_loaded(name: &OsStr) -> Self {
        Self::plain(format!(
            "`{}` ran, but never loaded the everprof library, so there is no profile. It may have \
             replaced itself by a static or privileged program, or run where /proc is not mounted",
            name.display()
        ))
    }

    /// Everprof itself could not do something, and the message says all.
    pub(crate) fn plain(what: String) -> Self {
        Self::new(OWN_FAILURE, what)
    }

    /// The kernel refused to run the program after all.
    pub(crate) fn spawn(path: &Path, source: io::Error) -> Self {
        let code = if source.kind() == io::ErrorKind::NotFound {
            NOT_FOUND
        } else {
            CANNOT_RUN
        };
        Self::new(code, format!("`{}` could not be started", path.display())).because(source)
    }

    /// Whether the program does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code == NOT_FOUND
    }

    /// The message and its causes, in one line.
    #[must_use]
    pub fn with_causes(&self) -> String {
        let mut text = self.message.clone();
        let mut source = self.source();
        while let Some(error) = source {
            // Some errors tell their cause themselves.
            let cause = error.to_string();
            if !text.ends_with(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
            source = error.source();
        }
        text
    }

    /// What everprof exits with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_input_cause_and_way_out() {
        let error = Error::spawn(Path::new("/x/y"), io::Error::from_raw_os_error(8));
        let text = error.with_causes();
        assert!(
            text.contains("/x/y") && text.contains("Exec format error"),
            "{text}"
        );
        assert!(
            Error::static_binary(Path::new("z"))
                .to_string()
                .contains("everprof::Alloc")
        );
        assert!(Error::not_found(OsStr::new("q")).is_not_found());
    }
}
