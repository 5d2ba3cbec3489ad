//! `pthread_rwlock`.
//!
//! Context: signal. Invariant: see `locks`. glibc looks at a time and a clock before it looks
//! at the lock (for a mutex only at the clock), so that bad ones are left to it.

use core::ffi::c_int;

use libc::{clockid_t, pthread_rwlock_t, timespec};

use super::next::{Function1, Function2, Function3, Next};
use super::{ended, wait, wake};
use crate::stack::Registers;
use crate::waits::{self, Operation};

type Lock = *mut pthread_rwlock_t;
type Plain = Function1<Lock, c_int>;
type Timed = Function2<Lock, *const timespec, c_int>;
type ByClock = Function3<Lock, clockid_t, *const timespec, c_int>;

static READ: Next<Plain> = Next::by_result(c"pthread_rwlock_rdlock");
static READ_TIMED: Next<Timed> = Next::by_result(c"pthread_rwlock_timedrdlock");
static READ_BY_CLOCK: Next<ByClock> = Next::by_result(c"pthread_rwlock_clockrdlock");
static READ_TRY: Next<Plain> = Next::by_result(c"pthread_rwlock_tryrdlock");
static WRITE: Next<Plain> = Next::by_result(c"pthread_rwlock_wrlock");
static WRITE_TIMED: Next<Timed> = Next::by_result(c"pthread_rwlock_timedwrlock");
static WRITE_BY_CLOCK: Next<ByClock> = Next::by_result(c"pthread_rwlock_clockwrlock");
static WRITE_TRY: Next<Plain> = Next::by_result(c"pthread_rwlock_trywrlock");
static UNLOCK: Next<Plain> = Next::by_result(c"pthread_rwlock_unlock");

pub(super) fn resolve() {
    for plain in [&READ, &READ_TRY, &WRITE, &WRITE_TRY, &UNLOCK] {
        plain.look_up();
    }
    for timed in [&READ_TIMED, &WRITE_TIMED] {
        timed.look_up();
    }
    for by_clock in [&READ_BY_CLOCK, &WRITE_BY_CLOCK] {
        by_clock.look_up();
    }
}

/// C's `pthread_rwlock_rdlock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_rdlock(lock: Lock) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { READ.get()(lock) };
    // SAFETY: what may be locked may be tried.
    let tried = || unsafe { READ_TRY.get()(lock) };
    unless_free(lock, false, &Registers::here(), tried, call)
}

/// C's `pthread_rwlock_timedrdlock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_timedrdlock(
    lock: Lock,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { READ_TIMED.get()(lock, until) };
    // SAFETY: the caller's `until`.
    if !unsafe { is_time(until) } {
        return call();
    }
    // SAFETY: what may be locked may be tried.
    let tried = || unsafe { READ_TRY.get()(lock) };
    unless_free(lock, true, &Registers::here(), tried, call)
}

/// C's `pthread_rwlock_clockrdlock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_clockrdlock(
    lock: Lock,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { READ_BY_CLOCK.get()(lock, clock, until) };
    // SAFETY: the caller's `until`.
    if !is_clock(clock) || !unsafe { is_time(until) } {
        return call();
    }
    // SAFETY: what may be locked may be tried.
    let tried = || unsafe { READ_TRY.get()(lock) };
    unless_free(lock, true, &Registers::here(), tried, call)
}

/// C's `pthread_rwlock_wrlock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_wrlock(lock: Lock) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { WRITE.get()(lock) };
    // SAFETY: what may be locked may be tried.
    let tried = || unsafe { WRITE_TRY.get()(lock) };
    unless_free(lock, false, &Registers::here(), tried, call)
}

/// C's `pthread_rwlock_timedwrlock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_timedwrlock(
    lock: Lock,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { WRITE_TIMED.get()(lock, until) };
    // SAFETY: the caller's `until`.
    if !unsafe { is_time(until) } {
        return call();
    }
    // SAFETY: what may be locked may be tried.
    let tried = || unsafe { WRITE_TRY.get()(lock) };
    unless_free(lock, true, &Registers::here(), tried, call)
}

/// C's `pthread_rwlock_clockwrlock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_clockwrlock(
    lock: Lock,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { WRITE_BY_CLOCK.get()(lock, clock, until) };
    // SAFETY: the caller's `until`.
    if !is_clock(clock) || !unsafe { is_time(until) } {
        return call();
    }
    // SAFETY: what may be locked may be tried.
    let tried = || unsafe { WRITE_TRY.get()(lock) };
    unless_free(lock, true, &Registers::here(), tried, call)
}

/// C's `pthread_rwlock_unlock`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_rwlock_unlock(lock: Lock) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { UNLOCK.get()(lock) };
    // It lets one writer or all readers go on.
    wake(lock as usize, &Registers::here(), true, call)
}

/// Tries, and waits if the lock is busy.
#[inline(always)]
fn unless_free(
    lock: Lock,
    timed: bool,
    registers: &Registers,
    tried: impl FnOnce() -> c_int,
    call: impl FnOnce() -> c_int,
) -> c_int {
    if !waits::wants(Operation::Lock) {
        return call();
    }
    match tried() {
        libc::EBUSY => wait(
            Operation::Rwlock,
            lock as usize,
            timed,
            registers,
            call,
            ended,
        ),
        other => other,
    }
}

fn is_clock(clock: clockid_t) -> bool {
    clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_MONOTONIC
}

/// # Safety
/// `time` is null or can be read.
unsafe fn is_time(time: *const timespec) -> bool {
    // SAFETY: the caller's promise.
    let time = unsafe { time.as_ref() };
    time.is_some_and(|time| (0..1_000_000_000).contains(&time.tv_nsec))
}
