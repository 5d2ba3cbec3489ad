//! The first thing that runs: dormant for good, or recording from here on.
//!
//! Context: cold, before `main` and before every other initialiser (build.rs
//! asks the loader for that, so that what libraries allocate in theirs is
//! seen). The C library's own initialisers have not run yet: no stdio, no
//! locale, no `environ`; memory and threads are ready.
//!
//! ```text
//!             ┌──no settings, or nobody takes the arena──→ DORMANT
//!   STARTING ─┤                                               ↑ fork without --children
//!             └──────────────────────────────────────────→ RECORDING
//! ```
//!
//! Invariant: no state follows DORMANT. STARTING is all zero: objects made in it
//! are not recorded; it ends before any code but the loader's has run.

#[cfg(target_env = "gnu")]
#[path = "start/glibc.rs"]
mod entry;
#[cfg(not(target_env = "gnu"))]
#[path = "start/musl.rs"]
mod entry;

use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use everprof::config::Dump;
use everprof_core::{global, local};

use crate::announce::Socket;
use crate::environment::{self, Traces};
use crate::settings::Settings;
use crate::{exec, fork, last, real, recorder};

/// Written by `start` and `in_forked_child`, read by every sampled path.
static STATE: AtomicU8 = AtomicU8::new(STARTING);
const STARTING: u8 = 0;
const RECORDING: u8 = 1;
const DORMANT: u8 = 2;

/// What outlives the start. Set before RECORDING.
static RUN: OnceLock<Run> = OnceLock::new();

/// The run that this process is part of.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) socket: Socket,
    pub(crate) http: Option<String>,
    pub(crate) dump: Option<Dump>,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) children: bool,
    /// Process id of the command line.
    pub(crate) runner: u32,
    memory_limit: usize,
    traces: Traces,
}

/// The run, in a process that records.
pub(crate) fn run() -> Option<&'static Run> {
    RUN.get()
}

/// Whether samples are taken.
#[inline]
pub(crate) fn is_recording() -> bool {
    // Acquire: pairs with the Release in `enter`; the recorder is set up before it.
    STATE.load(Ordering::Acquire) == RECORDING
}

/// Keeps this thread off the slow path in a process that will never record.
pub(crate) fn stay_dormant() {
    // Relaxed: DORMANT is final and publishes nothing.
    if STATE.load(Ordering::Relaxed) == DORMANT {
        local::with(|local| local.countdown.set(i64::MAX));
    }
}

/// In the child of a `fork`.
///
/// Context: signal.
unsafe extern "C" fn in_forked_child() {
    let Some(run) = run().filter(|_| is_recording()) else {
        return;
    };
    if !run.children || !recorder::move_to_child(run.memory_limit, &run.socket) {
        enter(DORMANT);
        stay_dormant();
    }
}

/// Begins, with the process's environment.
///
/// # Safety
/// Called once, while no other thread runs. `environment` is null or a
/// null-terminated array of writable C strings that live as long as the process.
unsafe fn start(environment: *mut *mut c_char) {
    real::resolve();
    exec::resolve();
    last::resolve();
    // SAFETY: the caller's promise.
    let recording = unsafe { begin(environment) }.is_some();
    enter(if recording { RECORDING } else { DORMANT });
    if !recording {
        stay_dormant();
    }
}

/// # Safety
/// As `start`.
unsafe fn begin(environment: *mut *mut c_char) -> Option<()> {
    // SAFETY: the caller's promise; the line is not one of the strings that
    // `strip` rewrites.
    let line = unsafe { environment::settings_line(environment) }?;
    let settings = Settings::parse(line)?;
    if !settings.children {
        // SAFETY: the caller's promise.
        unsafe { environment::strip(environment, settings.library) };
    }
    let socket = Socket::new(settings.socket)?;
    if !recorder::begin(&settings, &socket) {
        return None;
    }
    let run = RUN.get_or_init(|| Run {
        socket,
        http: settings
            .http
            .map(|address| String::from_utf8_lossy(address).into_owned()),
        dump: dump_of(&settings),
        trace: settings
            .trace
            .map(|path| PathBuf::from(OsStr::from_bytes(path))),
        children: settings.children,
        runner: settings.runner,
        memory_limit: settings.memory_limit,
        traces: Traces {
            line: line.into(),
            library: settings.library.into(),
        },
    });
    exec::follow(&run.traces);
    fork::watch(in_forked_child);
    Some(())
}

fn dump_of(settings: &Settings<'_>) -> Option<Dump> {
    let directory = settings.dump_directory.map(OsStr::from_bytes);
    (settings.dump != 0).then(|| Dump {
        signal: settings.dump,
        directory: directory.map(PathBuf::from),
    })
}

fn enter(state: u8) {
    if state == DORMANT {
        // Threads and waits ask it, and no state of ours. Nobody else runs: this is the
        // start of a process, or of a fork's child.
        global::store().close();
    }
    // Release: publishes the recorder's setting up. Pairs with `is_recording`.
    STATE.store(state, Ordering::Release);
}
