//! `sched_yield`, with which locks wait before they sleep.
//!
//! Context: signal. Invariant: one system call, as in every C library; nothing is
//! displaced that would have to be looked up, so that static programs have it, too.

use core::ffi::c_int;

use super::{errno, platform};
use crate::stack::Registers;
use crate::waits::{self, Ended, Operation, Wait};

/// C's `sched_yield`.
#[unsafe(no_mangle)]
extern "C-unwind" fn sched_yield() -> c_int {
    // SAFETY: it takes no arguments and only lets others run.
    let call = || unsafe { platform::call(libc::SYS_sched_yield, [0; 6]) };
    let raw = if waits::wants(Operation::Yield) {
        let wait = Wait {
            operation: Operation::Yield,
            address: 0,
            timed: false,
        };
        // Whoever had the processor gave it back: nobody's wake is known.
        waits::around(&wait, &Registers::here(), call, |_| Ended::TimedOut)
    } else {
        call()
    };
    errno::result(raw) as c_int
}
