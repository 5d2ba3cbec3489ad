//! From the memory of ended processes to files.
//!
//! | process | directory |
//! |---|---|
//! | the program | DIR |
//! | one that it started, with `--children` | DIR/{pid} |
//! | a test binary that cargo started | DIR/{name}-{hash}, and with `.{pid}` behind it where it runs again |
//!
//! A file appears under its name only when it is whole. What cannot be written
//! to DIR at the end (a full disk, a directory that is gone) goes to the
//! temporary directory instead: the program's run cannot be had again.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use everprof::assemble;
use everprof_profile::{Profile, pprof};

use super::error::Error;
use super::inbox::{Arena, Sink};
use super::whose::Whose;
use super::{summary, test_binary};
use crate::output::note;

/// Writes the profiles of each process as it ends.
#[derive(Debug)]
pub(crate) struct Saver {
    directory: PathBuf,
    /// `prepare` made the directory.
    is_new: bool,
    /// The process that was started; 0 while it is not known.
    program: Arc<AtomicU32>,
    /// The program's own memory, once it has ended, and with it that of
    /// processes that ended while it was not known which one is the program.
    ended: Vec<Arena>,
    whose: Whose,
    /// Processes that were written to directories of their own: how many, and where
    /// those of test binaries are.
    children: usize,
    tests: HashSet<String>,
    /// What went wrong with the last child that could not be written.
    failed: Option<Error>,
}

/// Profiles with their names.
type Profiles = Vec<(&'static str, Profile)>;

impl Saver {
    /// Makes the directory and sees that it can be written to.
    pub(crate) fn prepare(
        directory: PathBuf,
        program: Arc<AtomicU32>,
        whose: Whose,
    ) -> Result<Self, Error> {
        let is_new = !directory.exists();
        let usable = fs::create_dir_all(&directory).and_then(|()| {
            let probe = directory.join(".everprof-probe");
            File::create(&probe)?.write_all(b"x")?;
            fs::remove_file(probe)
        });
        usable.map_err(|source| Error::output(&directory, source))?;
        Ok(Self {
            directory,
            is_new,
            program,
            ended: Vec::new(),
            whose,
            children: 0,
            tests: HashSet::new(),
            failed: None,
        })
    }

    /// The program never ran.
    pub(crate) fn abandon(self) {
        if self.is_new {
            // Not empty: then it is not ours alone to remove.
            let _ = fs::remove_dir(&self.directory);
        }
    }

    /// After the program has ended: writes what is left and tells it.
    pub(crate) fn finish(mut self, name: &OsStr, quiet: bool) -> Result<(), Error> {
        let ended = std::mem::take(&mut self.ended);
        let (mut programs, children): (Vec<_>, Vec<_>) =
            ended.into_iter().partition(|arena| self.is_program(arena));
        for arena in &children {
            self.save_child(arena);
        }
        let own = programs.pop().map(|arena| {
            let profiles = read(&arena)?;
            let place = write_or_keep_elsewhere(&self.directory, &profiles);
            if !quiet && let Ok(()) = place {
                let children = (self.children, self.whose);
                summary::tell(&self.directory, &arena, &profiles, children);
            }
            place
        });
        // The program's own failure is the one to end with; another's is told.
        match (own, self.failed) {
            (None, failed) => {
                self.failed = failed;
                self.tell_failure();
                Err(Error::not_loaded(name))
            }
            (Some(Ok(())), Some(failed)) => Err(failed),
            (Some(own), failed) => {
                self.failed = failed;
                self.tell_failure();
                own
            }
        }
    }

    fn tell_failure(&self) {
        if let Some(error) = &self.failed {
            note(&error.with_causes());
        }
    }

    fn is_program(&self, arena: &Arena) -> bool {
        // Acquire: pairs with the Release after the program was started; only the number counts.
        arena.pid == self.program.load(Ordering::Acquire)
    }

    fn save_child(&mut self, arena: &Arena) {
        let name = match (test_binary::name(&arena.executable), self.whose) {
            (Some(name), _) if self.tests.insert(name.to_owned()) => name.to_owned(),
            (Some(name), _) => format!("{name}.{}", arena.pid),
            (None, Whose::Tests) => return,
            (None, Whose::Program | Whose::All) => arena.pid.to_string(),
        };
        let directory = self.directory.join(name);
        match read(arena).and_then(|profiles| write_or_keep_elsewhere(&directory, &profiles)) {
            Ok(()) => self.children += 1,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Sink for Saver {
    fn ended(&mut self, arena: Arena) {
        // Acquire: as in `is_program`.
        let is_known = self.program.load(Ordering::Acquire) != 0;
        if is_known && !self.is_program(&arena) {
            // At once: a build may start thousands, and each holds a descriptor.
            self.save_child(&arena);
        } else {
            self.ended.push(arena);
        }
    }
}

/// Makes profiles of a process's memory.
fn read(arena: &Arena) -> Result<Profiles, Error> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", arena.memory.as_raw_fd()));
    assemble::recording(&path).map_err(|source| Error::unread(&arena.executable, source))
}

/// Writes the profiles to `directory`, or else where temporary files go; the
/// latter is an error that says so.
fn write_or_keep_elsewhere(directory: &Path, profiles: &Profiles) -> Result<(), Error> {
    let Err(source) = write_all(directory, profiles) else {
        return Ok(());
    };
    let name = format!("everprof-{}", std::process::id());
    let (mut elsewhere, mut attempt) = (std::env::temp_dir().join(&name), 0);
    while elsewhere.exists() {
        attempt += 1;
        elsewhere = std::env::temp_dir().join(format!("{name}-{attempt}"));
    }
    let kept = write_all(&elsewhere, profiles);
    Err(Error::unwritten(
        directory,
        source,
        kept.is_ok().then_some(&elsewhere),
    ))
}

fn write_all(directory: &Path, profiles: &Profiles) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, profile) in profiles {
        let path = directory.join(format!("{name}.pb.gz"));
        write_whole(&path, |out| {
            pprof::encode(profile, out).map_err(io::Error::other)
        })?;
    }
    Ok(())
}

/// The file under its name is the old one or the whole new one, never a part.
fn write_whole(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let written = File::create(&partial).and_then(|mut file| write(&mut file));
    let done = written.and_then(|()| fs::rename(&partial, path));
    if done.is_err() {
        // It may not even exist.
        let _ = fs::remove_file(&partial);
    }
    done
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heap.pb.gz");
        write_whole(&path, |out| out.write_all(b"old")).unwrap();
        let full = write_whole(&path, |out| {
            out.write_all(b"ne")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(full.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_was_not_needed_after_all_is_removed() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a/b");
        Saver::prepare(path.clone(), Arc::default(), Whose::Program)
            .unwrap()
            .abandon();
        assert!(!path.exists());
        fs::create_dir_all(&path).unwrap();
        Saver::prepare(path.clone(), Arc::default(), Whose::Program)
            .unwrap()
            .abandon();
        assert!(path.exists(), "it was there before");
    }
}
