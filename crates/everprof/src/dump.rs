//! `dump=`: at a signal, the stacks of all threads, or every profile.
//!
//! ```text
//! the program's thread      ours
//!   signal ─→ asked: one byte ─→ socket ─→ a thread that writes stacks or files
//! ```
//!
//! The handler does nothing else, as it may have interrupted anything. Where a
//! directory was told, a dump is a directory in it, `PID.N`, which gets its name when
//! all files in it are whole: `heap.pb.gz`, `block.pb.gz`, …, and `threads.txt`.
//!
//! Context: cold, but for `asked`: signal. Invariant: in a fork's child the signal is
//! what it would be without us; the socket is its parent's.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use everprof_core::signal::{self, Arrival};

use crate::config::{self, Dump, VARIABLE};
use crate::stacks::{self, Speaker};
use crate::{profile, start};

/// The end that handlers write to, and the process that it is for. Set once, before the
/// handler is installed.
static ASKED: OnceLock<(UnixStream, u32)> = OnceLock::new();

/// Does what `EVERPROF` told, once.
pub(crate) fn heed() {
    static HEEDED: OnceLock<()> = OnceLock::new();
    HEEDED.get_or_init(|| {
        let Some(dump) = &config::told().dump else {
            return;
        };
        if let Err(error) = install(dump) {
            start::complain(format!("{VARIABLE}: `dump`: {error}; going on without"));
        }
    });
}

/// Writes what `dump` says whenever its signal comes. For the agent, once a process.
///
/// # Errors
///
/// Where there is no descriptor or thread for it, or the signal cannot be handled.
#[doc(hidden)]
pub fn install(dump: &'static Dump) -> io::Result<()> {
    let (asked, asks) = UnixStream::pair()?;
    // A handler must not wait; a dump that is asked for already will do.
    asked.set_nonblocking(true)?;
    ASKED.get_or_init(|| (asked, std::process::id()));
    start::spawn("everprof-dump", move || serve(asks, dump))?;
    if signal::install(dump.signal, self::asked) {
        return Ok(());
    }
    Err(io::Error::new(
        ErrorKind::Unsupported,
        "the signal cannot be handled on this platform",
    ))
}

/// Context: signal. `write` to a socket of std's is one system call.
fn asked(_: &Arrival<'_>) -> bool {
    match ASKED.get() {
        Some((asked, process)) if *process == std::process::id() => {
            // Full: a dump is to come anyway.
            let _ = (&*asked).write(&[0]);
            true
        }
        _ => false,
    }
}

fn serve(mut asks: UnixStream, dump: &Dump) {
    let mut number = 0;
    let mut bytes = [0; 64];
    loop {
        match asks.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        number += 1;
        match &dump.directory {
            None => stacks::tell(Speaker::Signal, 0),
            Some(directory) => match write_profiles(directory, number) {
                Ok(place) => {
                    start::complain(format!("everprof: profiles are in {}", place.display()));
                }
                Err(error) => start::complain(format!(
                    "everprof: no dump in {}: {error}",
                    directory.display()
                )),
            },
        }
    }
}

/// All profiles, in a directory of their own whose name it returns.
fn write_profiles(directory: &Path, number: u32) -> io::Result<PathBuf> {
    let name = format!("{}.{number}", std::process::id());
    let (partial, whole) = (
        directory.join(format!("{name}.partial")),
        directory.join(name),
    );
    fs::create_dir_all(&partial)?;
    for profile in profile::all() {
        let name = profile.name();
        // It holds the same as threads.
        if name == "goroutine" {
            continue;
        }
        let mut file = File::create(partial.join(format!("{name}.pb.gz")))?;
        profile.write_to(&mut file).map_err(io::Error::other)?;
        if name == "threads" {
            let mut text = File::create(partial.join("threads.txt"))?;
            profile.write_text(&mut text, 2).map_err(io::Error::other)?;
        }
    }
    fs::rename(&partial, &whole)?;
    Ok(whole)
}
