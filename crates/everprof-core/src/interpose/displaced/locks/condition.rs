//! `pthread_cond`. A wait gives its mutex back first, which may end others' waits.
//!
//! Context: signal. Invariant: see `locks`; the waits are points of cancellation.

use core::ffi::c_int;

use libc::{clockid_t, pthread_cond_t, pthread_mutex_t, timespec};

use super::next::{Function1, Function2, Function3, Function4, Next};
use super::{ended, wait, wake};
use crate::stack::Registers;
use crate::waits::{self, Operation};

type Condition = *mut pthread_cond_t;
type Mutex = *mut pthread_mutex_t;

static WAIT: Next<Function2<Condition, Mutex, c_int>> = Next::by_result(c"pthread_cond_wait");
static TIMEDWAIT: Next<Function3<Condition, Mutex, *const timespec, c_int>> =
    Next::by_result(c"pthread_cond_timedwait");
static CLOCKWAIT: Next<Function4<Condition, Mutex, clockid_t, *const timespec, c_int>> =
    Next::by_result(c"pthread_cond_clockwait");
static SIGNAL: Next<Function1<Condition, c_int>> = Next::by_result(c"pthread_cond_signal");
static BROADCAST: Next<Function1<Condition, c_int>> = Next::by_result(c"pthread_cond_broadcast");

pub(super) fn resolve() {
    WAIT.look_up();
    TIMEDWAIT.look_up();
    CLOCKWAIT.look_up();
    SIGNAL.look_up();
    BROADCAST.look_up();
}

/// C's `pthread_cond_wait`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_wait(condition: Condition, mutex: Mutex) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { WAIT.get()(condition, mutex) };
    if !waits::wants(Operation::Condition) {
        return call();
    }
    releasing(condition, mutex, false, &Registers::here(), call)
}

/// C's `pthread_cond_timedwait`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_timedwait(
    condition: Condition,
    mutex: Mutex,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { TIMEDWAIT.get()(condition, mutex, until) };
    if !waits::wants(Operation::Condition) {
        return call();
    }
    releasing(condition, mutex, true, &Registers::here(), call)
}

/// C's `pthread_cond_clockwait`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_clockwait(
    condition: Condition,
    mutex: Mutex,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { CLOCKWAIT.get()(condition, mutex, clock, until) };
    if !waits::wants(Operation::Condition) {
        return call();
    }
    releasing(condition, mutex, true, &Registers::here(), call)
}

/// C's `pthread_cond_signal`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_signal(condition: Condition) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { SIGNAL.get()(condition) };
    wake(condition as usize, &Registers::here(), false, call)
}

/// C's `pthread_cond_broadcast`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cond_broadcast(condition: Condition) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { BROADCAST.get()(condition) };
    wake(condition as usize, &Registers::here(), true, call)
}

#[inline(always)]
fn releasing(
    condition: Condition,
    mutex: Mutex,
    timed: bool,
    registers: &Registers,
    call: impl FnOnce() -> c_int,
) -> c_int {
    // The mutex is given back within the call: told just before, as nothing can be told
    // in the midst of it.
    wake(mutex as usize, registers, false, || 0);
    let address = condition as usize;
    wait(Operation::Condition, address, timed, registers, call, ended)
}
