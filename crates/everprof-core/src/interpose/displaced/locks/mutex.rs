//! `pthread_mutex`.
//!
//! Context: signal. Invariant: see `locks`.

use core::ffi::c_int;

use libc::{clockid_t, pthread_mutex_t, timespec};

use super::next::{Function1, Function2, Function3, Next};
use super::{ended, wait, wake};
use crate::stack::Registers;
use crate::waits::{self, Operation};

type Mutex = *mut pthread_mutex_t;

static LOCK: Next<Function1<Mutex, c_int>> = Next::by_result(c"pthread_mutex_lock");
static TRYLOCK: Next<Function1<Mutex, c_int>> = Next::by_result(c"pthread_mutex_trylock");
static TIMEDLOCK: Next<Function2<Mutex, *const timespec, c_int>> =
    Next::by_result(c"pthread_mutex_timedlock");
static CLOCKLOCK: Next<Function3<Mutex, clockid_t, *const timespec, c_int>> =
    Next::by_result(c"pthread_mutex_clocklock");
static UNLOCK: Next<Function1<Mutex, c_int>> = Next::by_result(c"pthread_mutex_unlock");

pub(super) fn resolve() {
    LOCK.look_up();
    TRYLOCK.look_up();
    TIMEDLOCK.look_up();
    CLOCKLOCK.look_up();
    UNLOCK.look_up();
}

/// C's `pthread_mutex_lock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_lock(mutex: Mutex) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { LOCK.get()(mutex) };
    // SAFETY: a mutex that may be locked.
    unsafe { unless_free(mutex, false, &Registers::here(), call) }
}

/// C's `pthread_mutex_timedlock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_timedlock(mutex: Mutex, until: *const timespec) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { TIMEDLOCK.get()(mutex, until) };
    // SAFETY: a mutex that may be locked.
    unsafe { unless_free(mutex, true, &Registers::here(), call) }
}

/// C's `pthread_mutex_clocklock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_clocklock(
    mutex: Mutex,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { CLOCKLOCK.get()(mutex, clock, until) };
    // A clock that is none is refused whether the mutex is busy or not.
    if clock != libc::CLOCK_REALTIME && clock != libc::CLOCK_MONOTONIC {
        return call();
    }
    // SAFETY: a mutex that may be locked.
    unsafe { unless_free(mutex, true, &Registers::here(), call) }
}

/// C's `pthread_mutex_unlock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_mutex_unlock(mutex: Mutex) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { UNLOCK.get()(mutex) };
    wake(mutex as usize, &Registers::here(), false, call)
}

/// Tries, and waits if the mutex is busy: held by another thread, or by this one, which
/// `call` refuses or waits for, as the kind of the mutex wants it.
///
/// # Safety
/// `mutex` may be locked.
#[inline(always)]
unsafe fn unless_free(
    mutex: Mutex,
    timed: bool,
    registers: &Registers,
    call: impl FnOnce() -> c_int,
) -> c_int {
    if !waits::wants(Operation::Lock) {
        return call();
    }
    // SAFETY: what may be locked may be tried.
    match unsafe { TRYLOCK.get()(mutex) } {
        libc::EBUSY => wait(
            Operation::Lock,
            mutex as usize,
            timed,
            registers,
            call,
            ended,
        ),
        other => other,
    }
}
