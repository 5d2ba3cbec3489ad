//! Sleeping for a time.
//!
//! Context: signal. Invariant: see `interpose`; both are points of cancellation.

use core::ffi::c_int;

use libc::{clockid_t, timespec};

use super::next::{Function2, Function4, Next};
use crate::stack::Registers;
use crate::waits::{self, Ended, Operation, Wait};

static NANOSLEEP: Next<Function2<*const timespec, *mut timespec, c_int>> =
    Next::by_errno(c"nanosleep");
static CLOCK_NANOSLEEP: Next<Function4<clockid_t, c_int, *const timespec, *mut timespec, c_int>> =
    Next::by_result(c"clock_nanosleep");

pub(super) fn resolve() {
    NANOSLEEP.look_up();
    CLOCK_NANOSLEEP.look_up();
}

/// C's `nanosleep`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    let next = NANOSLEEP.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(time, left) };
    if !waits::wants(Operation::Sleep) {
        return waits::sleeping(call);
    }
    waits::around(&SLEEP, &Registers::here(), call, |_| Ended::TimedOut)
}

/// C's `clock_nanosleep`, with which std sleeps.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    let next = CLOCK_NANOSLEEP.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(clock, flags, time, left) };
    if !waits::wants(Operation::Sleep) {
        return waits::sleeping(call);
    }
    waits::around(&SLEEP, &Registers::here(), call, |_| Ended::TimedOut)
}

const SLEEP: Wait = Wait {
    operation: Operation::Sleep,
    address: 0,
    timed: true,
};
