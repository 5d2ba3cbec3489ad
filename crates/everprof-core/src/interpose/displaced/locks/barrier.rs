//! `pthread_barrier`. All but one of those who come wait; who will be the last is known
//! when the call returns only, so that nobody is told as the one who woke the others.
//!
//! Context: signal. Invariant: see `locks`.

use core::ffi::c_int;

use libc::pthread_barrier_t;

use super::next::{Function1, Next};
use super::wait;
use crate::stack::Registers;
use crate::waits::{self, Ended, Operation};

static WAIT: Next<Function1<*mut pthread_barrier_t, c_int>> =
    Next::by_result(c"pthread_barrier_wait");

pub(super) fn resolve() {
    WAIT.look_up();
}

/// C's `pthread_barrier_wait`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { WAIT.get()(barrier) };
    if !waits::wants(Operation::Condition) {
        return call();
    }
    let registers = Registers::here();
    let address = barrier as usize;
    wait(
        Operation::Condition,
        address,
        false,
        &registers,
        call,
        |&result| {
            // In glibc and musl the one that is told apart is the last to come, or one woken
            // last: nobody made it wait for long.
            if result == 0 {
                Ended::Woken
            } else {
                Ended::NotSlept
            }
        },
    )
}
