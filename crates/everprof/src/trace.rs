//! Traces: every allocation and free, one by one.
//!
//! Context: cold. Invariant: a trace that cannot be written any more ends, and the program
//! goes on; why, is said once on stderr and in what [`Trace::stop`] returns.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind};

mod at_exit;
pub(crate) mod heaps;
mod output;
mod writer;

use writer::Writing;

/// A trace that is being taken; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the trace ends when this is dropped"]
pub struct Trace {
    writing: Writing,
}

/// Where a trace goes.
pub struct Sink(To);

enum To {
    Path(PathBuf),
    File(File),
    Writer(Box<dyn Write + Send>),
}

/// A sink that can be written to.
struct Opened {
    sink: Box<dyn Write + Send>,
    /// Whether it takes what is written without waiting for anybody: not so a pipe, and of the
    /// program's own nobody knows.
    takes_at_once: bool,
}

/// What a trace is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Four to seven bytes an event, for `everprof trace`.
    #[default]
    Binary,
    /// A line an event and one a frame, for people.
    Text,
}

impl Format {
    /// What the name of a file asks for: text where it ends in `.txt`.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension == "txt") {
            Self::Text
        } else {
            Self::Binary
        }
    }
}

/// How a trace is taken. See [`start`] for one with the defaults.
///
/// ```no_run
/// use everprof::trace::{Format, Options};
///
/// let trace = Options::new().format(Format::Text).memory_limit(16 << 20).start("events.txt")?;
/// // … what is to be traced …
/// println!("{} events", trace.stop()?.events);
/// # Ok::<(), everprof::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    format: Option<Format>,
    memory_limit: usize,
    gc_stacks: bool,
}

/// What came of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Events that were written.
    pub events: u64,
    /// Events that had no room in memory, and are counted in the trace instead.
    pub lost: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Records each allocation, reallocation and free from here on, with its address, size,
/// thread, time and stack.
///
/// `sink` is the path of a file, or a [`Sink`]. A path that ends in `.txt` gets
/// [`Format::Text`], any other [`Format::Binary`], which `everprof trace FILE` reads.
/// One trace can be taken at a time. A fork's child is not traced.
///
/// ```no_run
/// let trace = everprof::trace::start("events.trace")?;
/// // … what is to be traced …
/// let summary = trace.stop()?;
/// println!("{} events, {} lost", summary.events, summary.lost);
/// # Ok::<(), everprof::Error>(())
/// ```
///
/// # What is seen
///
/// What goes through an [`Alloc`](crate::Alloc). The calling thread is traced from here on, and so are
/// threads that begin later; one that runs already joins at its next sample, that is, when it
/// has allocated half a MiB on the average, with the default
/// [period](crate::heap::set_period). A trace that is told of by `EVERPROF=trace=FILE`
/// begins before `main` and sees everything. The free of an object that was allocated
/// before the trace is no event. The heap profile is what it would be without a trace.
///
/// # Overhead
///
/// A stack is captured at each allocation, so that a program that does little else than to
/// allocate takes some times as long (docs/overhead.md has the figures of `cargo xtask bench
/// trace`). Events wait in at most 64 MiB of memory for the thread that writes them; where that
/// is full, they are counted in the trace.
///
/// # Errors
///
/// Where a trace is being taken, in this process or to this file ([`Error::is_busy`]), or the
/// file cannot be made.
pub fn start(sink: impl Into<Sink>) -> Result<Trace, Error> {
    Options::new().start(sink)
}

impl Options {
    /// The defaults: the format that the file's name says, and 64 MiB of memory.
    #[must_use]
    pub fn new() -> Self {
        Self {
            format: None,
            memory_limit: DEFAULT_MEMORY_BYTES,
            gc_stacks: false,
        }
    }

    /// What the trace is written as, whatever its name.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Most bytes that events may take on their way, at least 1 MiB. The memory is kept
    /// for later traces, so that the first one decides.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes.max(LEAST_MEMORY_BYTES);
        self
    }

    /// Whether what all other threads are doing is written with each mark termination of a
    /// [`Managed`](crate::heap::Managed) heap. The stacks are taken by the thread that writes,
    /// when it comes to the event: some milliseconds later, and from none that is stopped
    /// meanwhile in a way which keeps it from answering.
    #[must_use]
    pub fn gc_stacks(mut self, wanted: bool) -> Self {
        self.gc_stacks = wanted;
        self
    }

    /// As the function [`start`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start(self, sink: impl Into<Sink>) -> Result<Trace, Error> {
        let sink = sink.into();
        let (name, format) = match &sink.0 {
            To::Path(path) => (path.display().to_string(), Format::of(path)),
            To::File(_) => ("its file".to_owned(), Format::Binary),
            To::Writer(_) => ("its writer".to_owned(), Format::Binary),
        };
        self.start_as(name, format, sink, true)
    }

    /// As `start`, of an allocator that does not mark objects, to the file at `path`, which is
    /// open. For the agent.
    #[doc(hidden)]
    pub fn start_unmarked(self, file: File, path: &Path) -> Result<Trace, Error> {
        let name = path.display().to_string();
        self.start_as(name, Format::of(path), file.into(), false)
    }

    fn start_as(
        self,
        name: String,
        format: Format,
        sink: Sink,
        marks: bool,
    ) -> Result<Trace, Error> {
        let format = self.format.unwrap_or(format);
        let writing = Writing::begin(&self, marks, format, name, || sink.open())?;
        Ok(Trace { writing })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Trace {
    /// Ends the trace and tells what came of it, when all of it has been written.
    ///
    /// # Errors
    ///
    /// Where it could not be written to its end ([`Error::is_io`]): the disk was full, say.
    pub fn stop(mut self) -> Result<Summary, Error> {
        self.writing.stop()
    }
}

impl Sink {
    /// A file, which is made anew.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(To::Path(path.into()))
    }

    /// Anything that can be written to. It is used, and dropped, on the thread that writes.
    pub fn writer(writer: impl Write + Send + 'static) -> Self {
        Self(To::Writer(Box::new(writer)))
    }

    fn open(self) -> Result<Opened, Error> {
        match self.0 {
            To::Writer(sink) => Ok(Opened {
                sink,
                takes_at_once: false,
            }),
            To::File(file) => Ok(Opened::of(file)),
            To::Path(path) => make(&path).map(Opened::of),
        }
    }
}

impl Opened {
    fn of(file: File) -> Self {
        Self {
            takes_at_once: file.metadata().is_ok_and(|there| there.is_file()),
            sink: Box::new(file),
        }
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            To::Path(path) => f.debug_tuple("Path").field(path).finish(),
            To::File(file) => f.debug_tuple("File").field(file).finish(),
            To::Writer(_) => f.write_str("Writer"),
        }
    }
}

impl From<&Path> for Sink {
    fn from(path: &Path) -> Self {
        Self::file(path)
    }
}

impl From<&str> for Sink {
    fn from(path: &str) -> Self {
        Self::file(path)
    }
}

impl From<String> for Sink {
    fn from(path: String) -> Self {
        Self::file(path)
    }
}

impl From<PathBuf> for Sink {
    fn from(path: PathBuf) -> Self {
        Self::file(path)
    }
}

impl From<&PathBuf> for Sink {
    fn from(path: &PathBuf) -> Self {
        Self::file(path)
    }
}

impl From<File> for Sink {
    fn from(file: File) -> Self {
        Self(To::File(file))
    }
}

/// `FILE.PID`: the trace of a process where another's is at `FILE`.
#[doc(hidden)]
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    beside.into()
}

/// A file of ours alone. One that another process traces to is not cut: a program that
/// `EVERPROF` tells to trace may start others, which are told the same.
fn make(path: &Path) -> Result<File, Error> {
    let cannot = |error: io::Error| {
        let message = format!("cannot make the trace `{}`: {error}", path.display());
        Error::new(Kind::Io, message).caused_by(error)
    };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.map_err(cannot)?;
    if file.metadata().is_ok_and(|there| there.is_file()) {
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::new(
                Kind::Busy,
                format!(
                    "cannot trace to `{}`: another process does; name another file",
                    path.display()
                ),
            ));
        }
        file.set_len(0).map_err(cannot)?;
    }
    Ok(file)
}

/// As for the recorders' other memory. Three quarters of it hold some two million events.
const DEFAULT_MEMORY_BYTES: usize = 64 << 20;
/// Buffers for some threads, and some thousand stacks.
const LEAST_MEMORY_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_the_name_says() {
        assert_eq!(Format::of(Path::new("a/b.txt")), Format::Text);
        assert_eq!(Format::of(Path::new("a.txt/b")), Format::Binary);
        assert_eq!(Format::of(Path::new("txt")), Format::Binary);
    }
}
