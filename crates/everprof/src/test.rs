//! The profiles of a test.
//!
//! Context: cold. Invariant: what could not be written is told, and fails no test.
//! Source: Go's `go test -memprofile`; `everprof run -- cargo test` does the same to
//! whole test binaries, without a line of code.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::profile::{Ask, Handle, Time, handles};
use crate::start::{LeftOut, complain};

/// Writes the profiles of the time until it is dropped, one file each: what a test
/// allocated and kept, where it waited, what its threads do at its end.
///
/// ```no_run
/// #[global_allocator]
/// static ALLOC: everprof::Alloc = everprof::Alloc::system();
///
/// #[test]
/// fn parses_what_it_is_given() {
///     let _profiles = everprof::test::Profiles::of_this_test();
///     // … the test …
/// }
/// ```
///
/// Profiles that grow since the program started are written as the difference to when
/// this was made, others as they are in the end; the profile of CPU time is left out, see
/// [`cpu`](crate::cpu). They are those of the whole process: for one test's alone run it
/// alone (`cargo test NAME -- --test-threads=1`). A short test is best recorded
/// exactly: [`heap::set_period(1)`](crate::heap::set_period).
#[derive(Debug)]
#[must_use = "the profiles are written when this is dropped"]
pub struct Profiles {
    directory: PathBuf,
    earlier: Vec<(String, everprof_profile::Profile)>,
}

impl Profiles {
    /// Into this directory, which is made if need be.
    pub fn to(directory: impl Into<PathBuf>) -> Self {
        let _left_out = LeftOut::new();
        let grows = |handle: &Handle| handle.time() == Time::Cumulative;
        let earlier = handles().into_iter().filter(grows).filter_map(|handle| {
            let taken = handle.take(&Ask::default()).ok()?;
            Some((handle.name().to_owned(), taken))
        });
        Self {
            directory: directory.into(),
            earlier: earlier.collect(),
        }
    }

    /// Into `target/debug/everprof-tests/{binary}/{test}`, or as cargo's target directory and
    /// profile are called: beside what cargo built. The test is known by the name of
    /// its thread, as Rust's own test harness gives it.
    pub fn of_this_test() -> Self {
        let executable = std::env::current_exe().unwrap_or_default();
        let thread = std::thread::current();
        Self::to(beside(&executable, thread.name().unwrap_or("main")))
    }

    /// Where they will be.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn write(&self) -> Result<(), Error> {
        let _left_out = LeftOut::new();
        let failed = |e| Error::io(&format!("write to `{}`", self.directory.display()), e);
        fs::create_dir_all(&self.directory).map_err(failed)?;
        for handle in handles() {
            if let Time::Window(_) = handle.time() {
                continue;
            }
            // One that this platform has not is left out.
            let Ok(now) = handle.take(&Ask::default()) else {
                continue;
            };
            let name = handle.name();
            let earlier = self.earlier.iter().find(|(other, _)| other == name);
            let data = match earlier {
                Some((_, earlier)) => now.delta(earlier)?,
                None => now,
            };
            let path = self
                .directory
                .join(format!("{}.pb.gz", name.replace('/', "-")));
            let mut file = File::create(path).map_err(failed)?;
            (*handle).clone().finished(data).write_to(&mut file)?;
        }
        Ok(())
    }
}

impl Drop for Profiles {
    fn drop(&mut self) {
        if let Err(error) = self.write() {
            complain(format!("everprof: the profiles of this test: {error}"));
        }
    }
}

/// `…/target/debug/deps/parser-0f3a…` is built beside `…/target/debug/everprof-tests`.
fn beside(executable: &Path, test: &str) -> PathBuf {
    let built = executable.parent().unwrap_or(Path::new("."));
    let target = if built.ends_with("deps") {
        built.parent().unwrap_or(built)
    } else {
        built
    };
    let binary = executable.file_name().unwrap_or_default();
    // A part of a path; `tests::parses` and its like stay readable.
    let test = test.replace(['/', '\0'], "-");
    target.join("everprof-tests").join(binary).join(test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_profiles_are_beside_its_binary_under_its_name() {
        let directory = beside(Path::new("/t/debug/deps/parser-0f3a"), "tests::parses");
        assert_eq!(
            directory,
            Path::new("/t/debug/everprof-tests/parser-0f3a/tests::parses")
        );
        assert_eq!(
            beside(Path::new("/bin/app"), "a/b"),
            Path::new("/bin/everprof-tests/app/a-b")
        );
    }
}
