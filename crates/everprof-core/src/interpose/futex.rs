//! `syscall(SYS_futex, …)`: which of them wait, and which end waits.
//!
//! Context: signal. Invariant: every call reaches the kernel once, with the words that
//! came, whatever this file makes of them.
//!
//! | operation | told as | the kernel's result |
//! |---|---|---|
//! | WAIT, WAIT_BITSET, LOCK_PI, LOCK_PI2 | a wait on the word | 0: woken |
//! | WAKE, WAKE_BITSET | a wake of the word | how many it woke |
//! | UNLOCK_PI | a wake of the word | 0: one at most |
//! | REQUEUE, CMP_REQUEUE | a wake of the word, and the rest has moved | how many it woke or moved |
//! | WAKE_OP | a wake of both words | how many it woke of both |
//! | anything else | nothing | |
//!
//! REQUEUE's result is the same sum as CMP_REQUEUE's, whatever its manual says: both are
//! `futex_requeue` of Linux `kernel/futex/requeue.c`. For WAKE_OP the sum is taken to be
//! of the first word up to what was asked for there; only C libraries of long ago use it.

use core::ffi::c_long;

use super::{errno, platform};
use crate::stack::Registers;
use crate::waits::{self, Ended, Operation, Wait};

/// What C's `syscall` is for SYS_futex, with its six words.
///
/// Registers hold what the caller left there where it gave fewer: such words are passed
/// on and not looked at, as by the C library.
///
/// # Safety
/// As the system call's.
pub(super) unsafe extern "C-unwind" fn futex(
    _number: c_long,
    word: usize,
    operation: usize,
    value: usize,
    fourth: usize,
    second: usize,
    third: usize,
) -> c_long {
    let registers = Registers::here();
    let call = || {
        let words = [word, operation, value, fourth, second, third];
        // SAFETY: the caller keeps the call's contract, and these are its words.
        unsafe { platform::call(libc::SYS_futex, words) }
    };
    let asked = value as u32;
    let raw = match Kind::of(operation as u32) {
        _ if !waits::wants(Operation::Futex) => call(),
        Kind::Wait => {
            let wait = Wait {
                operation: Operation::Futex,
                address: word,
                timed: fourth != 0,
            };
            waits::around(&wait, &registers, call, |&raw| ended(raw))
        }
        Kind::Wake => waits::wake(word, &registers, call, |&raw| count(raw)),
        Kind::Unlock => waits::wake(word, &registers, call, |&raw| u32::from(raw == 0)),
        Kind::Requeue => {
            let raw = waits::wake(word, &registers, call, |&raw| count(raw).min(asked));
            let moved = count(raw).saturating_sub(asked);
            if moved > 0 {
                waits::requeued(word, second, moved);
            }
            raw
        }
        Kind::WakeTwo => {
            let both = || {
                let rest = |raw: &isize| count(*raw).saturating_sub(asked);
                waits::wake(second, &registers, call, rest)
            };
            waits::wake(word, &registers, both, |&raw| count(raw).min(asked))
        }
        Kind::Other => call(),
    };
    errno::result(raw)
}

/// What an operation is to those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Wait,
    Wake,
    Unlock,
    Requeue,
    WakeTwo,
    Other,
}

impl Kind {
    #[inline(always)]
    fn of(operation: u32) -> Self {
        let flags = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
        match operation.cast_signed() & !flags {
            libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => Self::Wait,
            libc::FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => Self::Wait,
            libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => Self::Wake,
            libc::FUTEX_UNLOCK_PI => Self::Unlock,
            libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE => Self::Requeue,
            libc::FUTEX_WAKE_OP => Self::WakeTwo,
            _ => Self::Other,
        }
    }
}

/// Linux 5.14, `include/uapi/linux/futex.h`.
const FUTEX_LOCK_PI2: i32 = 13;

/// How a wait ended, by the kernel's result.
fn ended(raw: isize) -> Ended {
    const TIMED_OUT: isize = -(libc::ETIMEDOUT as isize);
    const INTERRUPTED: isize = -(libc::EINTR as isize);
    match raw {
        0 => Ended::Woken,
        TIMED_OUT | INTERRUPTED => Ended::TimedOut,
        // EAGAIN: the value was another; EFAULT, EINVAL, EDEADLK: it was refused.
        _ => Ended::NotSlept,
    }
}

/// How many waiters a result speaks of; none if it is an error.
fn count(raw: isize) -> u32 {
    u32::try_from(raw).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_do_not_change_what_an_operation_is() {
        let kinds = [
            (0, Kind::Wait),
            (1, Kind::Wake),
            (2, Kind::Other),
            (3, Kind::Requeue),
            (4, Kind::Requeue),
            (5, Kind::WakeTwo),
            (6, Kind::Wait),
            (7, Kind::Unlock),
            (8, Kind::Other),
            (9, Kind::Wait),
            (10, Kind::Wake),
            (11, Kind::Other),
            (12, Kind::Other),
            (13, Kind::Wait),
            (14, Kind::Other),
        ];
        for (operation, kind) in kinds {
            for flags in [0, 128, 256, 384] {
                assert_eq!(Kind::of(operation | flags), kind, "{operation} {flags}");
            }
        }
    }

    #[test]
    fn ends_are_told_by_the_result() {
        assert_eq!(ended(0), Ended::Woken);
        assert_eq!(ended(-110), Ended::TimedOut);
        assert_eq!(ended(-4), Ended::TimedOut);
        assert_eq!(ended(-11), Ended::NotSlept);
        assert_eq!(ended(-14), Ended::NotSlept);
    }

    #[test]
    fn an_error_wakes_nobody() {
        assert_eq!(count(3), 3);
        assert_eq!(count(-14), 0);
    }
}
