//! Process: what the dumps of one process share.
//!
//! Context: cold; signal in `known`, which a handler asks.
//! Invariant: whatever a handler of ours writes to was mapped before the first signal is sent, and
//! stays mapped.

use std::sync::Mutex;

use super::asked::Pool;
use super::names::Names;
use super::sends::{Exec, Sends};
use crate::per_process::PerProcess;
use crate::stack::platform;
use crate::sys;
use crate::threads::dump::Dump;
use crate::threads::turn::Turn;

/// A fork's child has its own: its parent's may be locked by a thread that the child does not
/// have.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) turn: Turn<Dump>,
    /// Nobody waits for it: collections take turns.
    pub(super) names: Mutex<Names>,
    /// Where threads that are asked answer. `None`: there was no memory.
    pub(super) pool: Option<Pool>,
}

impl Process {
    /// This process's, made now if need be.
    ///
    /// Of two first dumps at once one makes it in vain, and the mapping of its pool is lost: some
    /// address space, once.
    pub(super) fn this() -> &'static Self {
        PROCESS.get_or_make()
    }

    /// The one that was made last: a signal that arrives was sent for it, or comes too late.
    pub(super) fn known() -> Option<&'static Self> {
        PROCESS.latest()
    }
}

impl Default for Process {
    fn default() -> Self {
        Self {
            turn: Turn::new(),
            names: Mutex::default(),
            pool: Pool::map(),
        }
    }
}

static PROCESS: PerProcess<Process> = PerProcess::new();

/// Not in [`Process`]: a process may call `exec` before its first dump, and be there yet
/// when that begins.
pub(super) static SENDS: Sends = Sends::new();

/// See [`super::super::before_exec`].
pub(in crate::threads) fn before_exec() -> Exec<'static> {
    let exec = SENDS.before_exec(sys::process_id(), sys::pause_briefly);
    deliver_pending();
    exec
}

/// Comes back when the handlers of signals that are pending for this thread have run.
fn deliver_pending() {
    // SAFETY: gettid has no preconditions. By the instruction: C libraries may remember
    // the number, and it is at a call's end that the kernel delivers.
    unsafe { platform::syscall4(libc::SYS_gettid, 0, 0, 0, 0) };
}
