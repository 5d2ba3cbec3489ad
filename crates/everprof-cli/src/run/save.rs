//! From the memory of ended processes to files.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::error::Error;
use super::inbox::{Arena, Sink, tell};
use super::{RunArgs, short_name};

/// Writes the profiles of each process as it ends.
#[derive(Debug)]
pub(crate) struct Saver {
    directory: PathBuf,
    arenas: Vec<Arena>,
}

impl Saver {
    /// Makes the directory and sees that it can be written to.
    pub(crate) fn prepare(
        given: Option<PathBuf>,
        name: &OsStr,
        _args: &RunArgs,
    ) -> Result<Self, Error> {
        let directory = given.unwrap_or_else(|| {
            format!("everprof.{}.{}", short_name(name), std::process::id()).into()
        });
        std::fs::create_dir_all(&directory).map_err(|e| {
            Error::own(
                format!("directory `{}` cannot be made", directory.display()),
                e,
            )
        })?;
        Ok(Self {
            directory,
            arenas: Vec::new(),
        })
    }

    /// The program never ran.
    pub(crate) fn abandon(self) {
        let _ = std::fs::remove_dir(&self.directory);
    }

    /// After the program, process `pid`, has ended.
    pub(crate) fn finish(self, pid: u32) -> Result<(), Error> {
        for arena in &self.arenas {
            tell(&format!(
                "{} {:?} {}",
                arena.pid,
                arena.executable,
                arena.pid == pid
            ));
        }
        Ok(())
    }
}

impl Sink for Saver {
    fn ended(&mut self, arena: Arena) {
        self.arenas.push(arena);
    }

    fn say(&mut self, text: &str, _failed: bool) {
        tell(text);
    }
}
