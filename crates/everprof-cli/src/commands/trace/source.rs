//! The bytes of a trace: a file, or standard input, read once or twice.
//!
//! Invariant: a trace is never held in memory. What is on standard input and has to be read
//! twice is kept in a file without a name, which goes with the process.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};
use std::path::Path;

use everprof_profile::trace::Reader;

use crate::error::Error;
use crate::input::Source;
use crate::output::Progress;

/// Reads a trace, with a bar on a terminal.
pub type Trace = Reader<Watched<Box<dyn Read>>>;

/// Where a trace comes from.
pub struct Bytes {
    name: String,
    from: From,
}

enum From {
    File(File),
    Stdin,
}

impl Bytes {
    /// Opens what the user named. `is_read_twice` says whether [`Bytes::reader`] will be
    /// called again.
    pub fn open(source: &Source, is_read_twice: bool) -> Result<Bytes, Error> {
        let name = source.to_string();
        let from = match source {
            Source::File(path) => From::File(open_file(path)?),
            Source::Url(url) => {
                return Err(Error::new(format!("`{url}`: expected a file with a trace"))
                    .hint(format!("curl -sf '{url}' | everprof trace -")));
            }
            Source::Stdin if io::stdin().is_terminal() => {
                return Err(
                    Error::new("`-` is the terminal: expected a trace on standard input")
                        .hint("everprof trace app.trace"),
                );
            }
            Source::Stdin if is_read_twice => From::File(kept(&name)?),
            Source::Stdin => From::Stdin,
        };
        Ok(Bytes { name, from })
    }

    /// Reads from the beginning; `what` stands beside the bar.
    pub fn reader(&mut self, what: &str) -> Result<Trace, Error> {
        let unreadable =
            |source| Error::new(format!("cannot read `{}`", self.name)).because(source);
        let (input, length): (Box<dyn Read>, Option<u64>) = match &mut self.from {
            From::Stdin => (Box::new(io::stdin().lock()), None),
            From::File(file) => {
                // Of a pipe with a name there is no length, and no second reading.
                let metadata = file.metadata().map_err(unreadable)?;
                let length = metadata.is_file().then_some(metadata.len());
                if length.is_some() {
                    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
                }
                (Box::new(file.try_clone().map_err(unreadable)?), length)
            }
        };
        let progress = Progress::of_bytes(format!("{what} {}", self.name), length);
        Reader::new(Watched { input, progress }).map_err(|error| {
            let words = error.to_string();
            let error = Error::new(format!("`{}`: {words}", self.name)).because(error);
            match words.contains("\\x1f\\x8b") {
                true => error.hint(format!("everprof top {}   (if it is a profile)", self.name)),
                false => error,
            }
        })
    }
}

fn open_file(path: &Path) -> Result<File, Error> {
    let unreadable = |source: io::Error| {
        let is_missing = source.kind() == io::ErrorKind::NotFound;
        let error = Error::new(format!("cannot read `{}`", path.display())).because(source);
        match is_missing {
            true => error.hint("EVERPROF=trace=app.trace PROGRAM   (makes app.trace)"),
            false => error,
        }
    };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(Error::new(format!(
            "`{}` is a directory: expected a trace",
            path.display()
        )));
    }
    Ok(file)
}

/// Standard input, in a file that has no name any more.
fn kept(name: &str) -> Result<File, Error> {
    let path = std::env::temp_dir().join(format!("everprof-trace.{}", std::process::id()));
    let failed = |source: io::Error| {
        Error::new(format!("cannot keep {name} in `{}`", path.display())).because(source)
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)?;
    let progress = Progress::of_bytes(format!("reading {name}"), None);
    let input = io::stdin().lock();
    io::copy(&mut Watched { input, progress }, &mut file).map_err(failed)?;
    Ok(file)
}

/// A reader whose bytes move a bar.
pub struct Watched<R> {
    input: R,
    progress: Progress,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        self.progress.advance(got as u64);
        Ok(got)
    }
}
