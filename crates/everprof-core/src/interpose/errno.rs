//! `errno`, written once a call and only where the C library would.
//!
//! Context: signal. Invariant: a call that succeeds leaves `errno` as it was.

use core::ffi::{c_int, c_long};

/// The kernel returns errors as −1 to −4095 (Linux `include/linux/err.h`).
const LAST_ERROR: isize = -4095;

/// What C's `syscall` returns for what the kernel returned.
#[inline(always)]
pub(super) fn result(raw: isize) -> c_long {
    if (LAST_ERROR..0).contains(&raw) {
        fail(raw)
    } else {
        raw as c_long
    }
}

/// Sets `errno` for an error that the kernel returned, and returns −1.
///
/// The naked `syscall` jumps here, too.
#[cold]
#[inline(never)]
pub(super) extern "C" fn fail(raw: isize) -> c_long {
    set(raw.wrapping_neg() as c_int);
    -1
}

/// Runs `f` and puts `errno` back.
#[cfg(not(target_feature = "crt-static"))]
#[inline(always)]
pub(super) fn kept<R>(f: impl FnOnce() -> R) -> R {
    let before = get();
    let result = f();
    set(before);
    result
}

/// The thread's `errno`.
#[cfg(any(test, not(target_feature = "crt-static")))]
#[inline(always)]
pub(super) fn get() -> c_int {
    // SAFETY: `location` is this thread's own.
    unsafe { location().read() }
}

/// Sets the thread's `errno`.
#[inline(always)]
pub(super) fn set(value: c_int) {
    // SAFETY: `location` is this thread's own.
    unsafe { location().write(value) }
}

#[inline(always)]
fn location() -> *mut c_int {
    // SAFETY: no preconditions; a distance from the thread pointer, in glibc and musl.
    unsafe { libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_errors_are_errors() {
        set(7);
        assert_eq!(result(0), 0);
        assert_eq!(result(-4096), -4096);
        assert_eq!(result(isize::MAX) as isize, isize::MAX);
        assert_eq!(get(), 7);
        assert_eq!(result(-1), -1);
        assert_eq!(get(), libc::EPERM);
        assert_eq!(result(-4095), -1);
        assert_eq!(get(), 4095);
    }
}
