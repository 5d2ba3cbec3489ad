//! Functions that have a next definition, and how it is found.
//!
//! Context: signal. Invariant: where `waits` does not want a kind, its functions are a
//! load, a test and a jump; where threads sleep for long in it, a few stores and a call
//! (`stack::spilled`).
//!
//! The next definitions are looked up once, when the loader initialises this module, so that
//! nobody waits for the loader's lock later: a thread in `dlopen` holds it while it runs
//! initialisers, which may wait for other threads. A call that comes before (from a library
//! initialised earlier) looks its function up by itself.

#[cfg(not(feature = "preload"))]
mod exec;
mod exit;
mod join;
mod lists;
#[cfg(feature = "preload")]
mod locks;
mod next;
mod poll;
mod sleep;
mod socket;
mod thread;

use crate::stack::Registers;
use crate::waits::{self, Ended, Operation, Wait};

#[used]
#[unsafe(link_section = ".init_array")]
static INITIALISER: extern "C" fn() = resolve;

/// Looks up everything. What the loader passes is not wanted; by the C calling
/// conventions of our platforms a callee may ignore it.
extern "C" fn resolve() {
    #[cfg(not(feature = "preload"))]
    exec::resolve();
    exit::resolve();
    join::resolve();
    poll::resolve();
    sleep::resolve();
    socket::resolve();
    thread::resolve();
    #[cfg(feature = "preload")]
    locks::resolve();
}

/// A call that waits for a descriptor, or for one of many.
#[inline(always)]
fn io(timed: bool, registers: &Registers, call: impl FnOnce() -> isize, least: isize) -> isize {
    let wait = Wait {
        operation: Operation::Io,
        address: 0,
        timed,
    };
    waits::around(&wait, registers, call, |&result| {
        if result >= least {
            Ended::Woken
        } else {
            Ended::TimedOut
        }
    })
}
