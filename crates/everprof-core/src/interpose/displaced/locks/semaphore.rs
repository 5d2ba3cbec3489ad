//! C's semaphores, told as conditions: whoever posts need not be who waited.
//!
//! Context: signal (`sem_post` is made to be called in handlers). Invariant: see `locks`; the
//! waits are points of cancellation, even where there is nothing to wait for. `sem_trywait`
//! is none, so that nothing is tried here: the value is looked at, and one that is
//! taken by somebody else right after leaves a wait untold.

use core::ffi::c_int;

use libc::{clockid_t, sem_t, timespec};

use super::next::{Function1, Function2, Function3, Next};
use super::{wait, wake};
use crate::stack::Registers;
use crate::waits::{self, Ended, Operation};

type Semaphore = *mut sem_t;

static WAIT: Next<Function1<Semaphore, c_int>> = Next::by_errno(c"sem_wait");
static VALUE: Next<Function2<Semaphore, *mut c_int, c_int>> = Next::by_errno(c"sem_getvalue");
static TIMEDWAIT: Next<Function2<Semaphore, *const timespec, c_int>> =
    Next::by_errno(c"sem_timedwait");
static CLOCKWAIT: Next<Function3<Semaphore, clockid_t, *const timespec, c_int>> =
    Next::by_errno(c"sem_clockwait");
static POST: Next<Function1<Semaphore, c_int>> = Next::by_errno(c"sem_post");

pub(super) fn resolve() {
    WAIT.look_up();
    VALUE.look_up();
    TIMEDWAIT.look_up();
    CLOCKWAIT.look_up();
    POST.look_up();
}

/// C's `sem_wait`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_wait(semaphore: Semaphore) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { WAIT.get()(semaphore) };
    // SAFETY: what may be waited for may be looked at.
    if !waits::wants(Operation::Condition) || unsafe { is_posted(semaphore) } {
        return call();
    }
    until_posted(semaphore, false, &Registers::here(), call)
}

/// C's `sem_timedwait`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_timedwait(semaphore: Semaphore, until: *const timespec) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { TIMEDWAIT.get()(semaphore, until) };
    // SAFETY: what may be waited for may be looked at.
    if !waits::wants(Operation::Condition) || unsafe { is_posted(semaphore) } {
        return call();
    }
    until_posted(semaphore, true, &Registers::here(), call)
}

/// C's `sem_clockwait`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_clockwait(
    semaphore: Semaphore,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { CLOCKWAIT.get()(semaphore, clock, until) };
    // SAFETY: what may be waited for may be looked at.
    if !waits::wants(Operation::Condition) || unsafe { is_posted(semaphore) } {
        return call();
    }
    until_posted(semaphore, true, &Registers::here(), call)
}

/// C's `sem_post`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_post(semaphore: Semaphore) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { POST.get()(semaphore) };
    wake(semaphore as usize, &Registers::here(), false, call)
}

/// Whether a wait would find something to take. Does not change `errno`: it cannot fail.
///
/// # Safety
/// `semaphore` is one.
#[inline(always)]
unsafe fn is_posted(semaphore: Semaphore) -> bool {
    let mut value = 0;
    // SAFETY: the caller's promise; `value` is ours.
    unsafe { VALUE.get()(semaphore, &raw mut value) };
    value > 0
}

#[inline(always)]
fn until_posted(
    semaphore: Semaphore,
    timed: bool,
    registers: &Registers,
    call: impl FnOnce() -> c_int,
) -> c_int {
    let address = semaphore as usize;
    wait(
        Operation::Condition,
        address,
        timed,
        registers,
        call,
        |&result| {
            // Failures are the clock's or a signal's, all but EINVAL, which takes no time.
            if result == 0 {
                Ended::Woken
            } else {
                Ended::TimedOut
            }
        },
    )
}
