//! Waiting for the end of a thread. `pthread_tryjoin_np` waits for nothing and is not here.
//!
//! Context: signal. Invariant: see `interpose`; all three are points of cancellation.

use core::ffi::{c_int, c_void};

use libc::{clockid_t, pthread_t, timespec};

use super::next::{Function2, Function3, Function4, Next};
use crate::stack::Registers;
use crate::waits::{self, Ended, Operation, Wait};

type Value = *mut *mut c_void;

static JOIN: Next<Function2<pthread_t, Value, c_int>> = Next::by_result(c"pthread_join");
static TIMED: Next<Function3<pthread_t, Value, *const timespec, c_int>> =
    Next::by_result(c"pthread_timedjoin_np");
static BY_CLOCK: Next<Function4<pthread_t, Value, clockid_t, *const timespec, c_int>> =
    Next::by_result(c"pthread_clockjoin_np");

pub(super) fn resolve() {
    JOIN.look_up();
    TIMED.look_up();
    BY_CLOCK.look_up();
}

/// C's `pthread_join`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_join(thread: pthread_t, value: Value) -> c_int {
    let next = JOIN.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(thread, value) };
    if !waits::wants(Operation::Join) {
        return call();
    }
    join(thread, false, &Registers::here(), call)
}

/// glibc's `pthread_timedjoin_np`.
///
/// # Safety
/// As glibc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_timedjoin_np(
    thread: pthread_t,
    value: Value,
    until: *const timespec,
) -> c_int {
    let next = TIMED.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(thread, value, until) };
    if !waits::wants(Operation::Join) {
        return call();
    }
    join(thread, true, &Registers::here(), call)
}

/// glibc's `pthread_clockjoin_np`.
///
/// # Safety
/// As glibc's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_clockjoin_np(
    thread: pthread_t,
    value: Value,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    let next = BY_CLOCK.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(thread, value, clock, until) };
    if !waits::wants(Operation::Join) {
        return call();
    }
    join(thread, true, &Registers::here(), call)
}

#[inline(always)]
fn join(
    thread: pthread_t,
    timed: bool,
    registers: &Registers,
    call: impl FnOnce() -> c_int,
) -> c_int {
    let wait = Wait {
        operation: Operation::Join,
        address: thread as usize,
        timed,
    };
    waits::around(&wait, registers, call, |&error| match error {
        0 => Ended::Woken,
        libc::ETIMEDOUT => Ended::TimedOut,
        // No such thread, or one that waits for this one.
        _ => Ended::NotSlept,
    })
}
