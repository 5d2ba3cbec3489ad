//! C's locks, for programs that run under the agent: try first, and only what is busy waits.
//!
//! Context: signal. Invariant: what a lock returns is what it would have returned. A try
//! that succeeds, or fails for any reason but being busy, is what the lock itself would
//! have done (POSIX words both alike; in glibc and musl they share their code); whatever
//! is busy is left to the lock, which may still refuse it: a thread that has it already, a
//! deadlock that it can see.
//!
//! An unlock does not say whether it woke somebody, and asking the recorder at each would
//! be felt. So those who come to a busy lock are counted by the hash of its address
//! ([`Waiters`]), and an unlock is told as a wake only where somebody has been.
//!
//! Not seen: the C library's own use of its locks; C11's `mtx_lock` and `cnd_wait`, which
//! are not built upon these symbols; the way back into a mutex at the end of a condition's
//! wait, which counts as part of that wait.

mod barrier;
mod condition;
mod mutex;
mod rwlock;
mod semaphore;
mod waiters;

use core::ffi::c_int;

use super::next;
use crate::stack::Registers;
use crate::waits::{self, Ended, Operation, Wait};
use waiters::Waiters;

static WAITERS: Waiters = Waiters::new();

pub(super) fn resolve() {
    barrier::resolve();
    condition::resolve();
    mutex::resolve();
    rwlock::resolve();
    semaphore::resolve();
}

/// Runs `call`, which finds the lock busy or will be woken at `address`.
#[inline(always)]
fn wait(
    operation: Operation,
    address: usize,
    timed: bool,
    registers: &Registers,
    call: impl FnOnce() -> c_int,
    ended: impl FnOnce(&c_int) -> Ended,
) -> c_int {
    let wait = Wait {
        operation,
        address,
        timed,
    };
    WAITERS.enter(address);
    let result = waits::around(&wait, registers, call, ended);
    WAITERS.leave(address);
    result
}

/// Runs `call`, which lets one or, with `all`, all that wait at `address` go on.
#[inline(always)]
fn wake(address: usize, registers: &Registers, all: bool, call: impl FnOnce() -> c_int) -> c_int {
    match WAITERS.count(address) {
        0 => call(),
        count => waits::wake(address, registers, call, |&error| match (error, all) {
            (0, true) => count,
            (0, false) => 1,
            _ => 0,
        }),
    }
}

/// How a wait ended that returns an error's number.
fn ended(error: &c_int) -> Ended {
    match *error {
        // EOWNERDEAD: the lock is had, after a thread that ended with it.
        0 | libc::EOWNERDEAD => Ended::Woken,
        libc::ETIMEDOUT => Ended::TimedOut,
        _ => Ended::NotSlept,
    }
}
