//! The stacks of threads as text, as a panic prints them.
//!
//! ```text
//! thread 4711 "worker-3" [mutex 0x7f2a10, 3.2 s]:
//! app::cache::fill
//!         src/cache.rs:31 +0x51c0
//! app::serve
//!         src/main.rs:12 +0x4f07
//! created by app::main
//!         src/main.rs:40 +0x5011
//! ```
//!
//! Below a function stand its file and line, and the address as an offset in the
//! program's file or a library's; without debug information, that file and the offset.
//!
//! Context: cold; allocates, so it is nothing for a signal handler.
//! Invariant: text consists of whole lines.
//! Source: Go's `runtime.Stack(buf, all)`.

use std::fmt::Write;
use std::io::{self, Write as _};

use everprof_profile::stacks::Stacks;

use crate::assemble;
use crate::error::{Error, Kind};
use crate::profile::{Ask, Names};
use crate::start::{self, LeftOut};

mod on_panic;
mod watchdog;

pub use on_panic::on_panic;
pub use watchdog::{Watchdog, watchdog};

/// Writes the stacks of all threads, or of the calling one alone, as paragraphs.
///
/// # Errors
///
/// Where `out` fails, or the platform does not tell of threads
/// ([`Error::is_unsupported`]).
///
/// # Overhead
///
/// That of [`threads::records`](crate::threads::records), and that of reading the debug
/// information of the program, where threads stand at places that no dump had before: a
/// large one's takes hundreds of milliseconds and tens of MiB. What it said of a place is kept.
///
/// ```
/// let mut text = String::new();
/// everprof::stacks::write(true, &mut text)?;
/// eprint!("{text}");
/// # Ok::<(), everprof::Error>(())
/// ```
pub fn write(all: bool, out: &mut impl Write) -> Result<(), Error> {
    let _left_out = LeftOut::new();
    write!(out, "{}", stacks(all, this_thread())?).map_err(|_| {
        Error::new(
            Kind::Io,
            "the stacks could not be written: the writer failed",
        )
    })
}

/// As [`write()`], into a buffer: as many whole lines as it holds, the last of which then
/// says how many threads are not there whole. Returns the bytes written.
///
/// # Errors
///
/// As [`write()`], but that there is no writer to fail.
pub fn write_into(all: bool, buffer: &mut [u8]) -> Result<usize, Error> {
    let _left_out = LeftOut::new();
    Ok(stacks(all, this_thread())?.write_into(buffer))
}

/// On whose account stacks are written that nobody asked for in code.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaker {
    /// A signal.
    Signal,
    /// A panic.
    Panic,
    /// A watchdog that was not fed.
    Watchdog,
}

/// Writes the stacks of all threads to stderr, that of `first` first, in one piece. Cold; on
/// a thread of ours.
pub(crate) fn tell(speaker: Speaker, first: u64) {
    let stacks = match stacks(true, first) {
        Ok(stacks) => stacks,
        Err(error) => return start::complain(format!("everprof: no stacks: {error}")),
    };
    let head = match speaker {
        Speaker::Signal => String::new(),
        Speaker::Panic => format!("everprof: thread {first} panicked; all threads:\n\n"),
        Speaker::Watchdog => {
            format!("everprof: the watchdog of thread {first} was not fed; all threads:\n\n")
        }
    };
    // Nobody may read it.
    let _ = io::stderr().write_all(format!("{head}{stacks}").as_bytes());
}

fn stacks(all: bool, own: u64) -> Result<Stacks, Error> {
    let ask = Ask {
        names: Names::Full,
        ..Ask::default()
    };
    let profile = assemble::threads("threads", &ask)?;
    let mut stacks = Stacks::of(&assemble::finish(profile, Names::Full, &[]));
    if all {
        // The one that asks, or is asked for, comes first, as in a panic of Go's.
        stacks.threads.sort_by_key(|thread| thread.id != own);
    } else {
        stacks.threads.retain(|thread| thread.id == own);
    }
    Ok(stacks)
}

/// The kernel's number of the calling thread: `/proc/thread-self` leads to `PID/task/TID`.
fn this_thread() -> u64 {
    let link = std::fs::read_link("/proc/thread-self").ok();
    let number = |link: std::path::PathBuf| link.file_name()?.to_str()?.parse().ok();
    link.and_then(number).unwrap_or(0)
}
