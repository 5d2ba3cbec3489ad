//! What is displaced: the next definition of a name in the loader's order.
//!
//! Context: signal once looked up, cold before. Invariant: a slot goes from null to its
//! function once, and stays; whoever looks up at the same time finds the same.
//!
//! The loader is asked from this module's text, which is how it knows what comes next.
//! Under another interposed library, or with everprof linked into a program that runs
//! under `everprof run`, the next definition is theirs, and each has its turn.

#[cfg_attr(target_env = "gnu", path = "next/glibc.rs")]
#[cfg_attr(not(target_env = "gnu"), path = "next/musl.rs")]
mod loader;

// With `panic=abort` rustc makes a call that may unwind end the process, although what
// unwinds is the C library, which ends a cancelled thread so and has no frame of
// Rust's to run. There the functions are typed as ones that do not unwind: the compiler then adds
// nothing, and the unwinder passes over our frames, which have nothing for it to do.
#[cfg_attr(panic = "unwind", path = "next/unwinding.rs")]
#[cfg_attr(not(panic = "unwind"), path = "next/aborting.rs")]
mod functions;

use core::ffi::{CStr, c_int, c_long, c_void};
use core::marker::PhantomData;
use core::mem::{size_of, transmute_copy};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

pub(super) use functions::*;

use crate::interpose::errno;

/// A displaced function.
///
/// `found` is written by `look_up` and read by each call.
pub(super) struct Next<F> {
    found: AtomicPtr<c_void>,
    name: &'static CStr,
    absent: extern "C" fn() -> c_long,
    function: PhantomData<F>,
}

impl<F: Copy> Next<F> {
    /// One that reports failure by −1 and `errno`.
    pub(super) const fn by_errno(name: &'static CStr) -> Self {
        Self::new(name, absent_by_errno)
    }

    /// One that returns an error's number.
    pub(super) const fn by_result(name: &'static CStr) -> Self {
        Self::new(name, absent_by_result)
    }

    const fn new(name: &'static CStr, absent: extern "C" fn() -> c_long) -> Self {
        assert!(
            size_of::<F>() == size_of::<*mut c_void>(),
            "F is a function pointer"
        );
        Self {
            found: AtomicPtr::new(ptr::null_mut()),
            name,
            absent,
            function: PhantomData,
        }
    }

    /// The function.
    #[inline(always)]
    pub(super) fn get(&self) -> F {
        // Relaxed: the pointer publishes nothing but itself; code does not change.
        let mut found = self.found.load(Ordering::Relaxed);
        if found.is_null() {
            found = self.look_up();
        }
        // SAFETY: `F` is a function pointer (asserted in `new`) of the C type of the symbol
        // `name`, which the static that holds this says, and `found` is that symbol, or a
        // function that ignores its arguments.
        unsafe { transmute_copy::<*mut c_void, F>(&found) }
    }

    /// Asks the loader. A C library that lacks the function (older than the program
    /// expects) is one whose function says so.
    #[cold]
    #[inline(never)]
    pub(super) fn look_up(&self) -> *mut c_void {
        let mut found = errno::kept(|| loader::next(self.name));
        if found.is_null() {
            found = self.absent as *mut c_void;
        }
        // Relaxed: as in `get`.
        self.found.store(found, Ordering::Relaxed);
        found
    }
}

extern "C" fn absent_by_errno() -> c_long {
    errno::set(libc::ENOSYS);
    -1
}

extern "C" fn absent_by_result() -> c_long {
    const RESULT: c_int = libc::ENOSYS;
    c_long::from(RESULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Absolute = Function1<c_int, c_int>;

    #[test]
    fn the_next_definition_is_not_ours() {
        static POLL: Next<Function3<*mut libc::pollfd, libc::nfds_t, c_int, c_int>> =
            Next::by_errno(c"poll");
        assert_ne!(POLL.get() as usize, libc::poll as *const () as usize);
        // SAFETY: no descriptors, no time.
        assert_eq!(unsafe { POLL.get()(ptr::null_mut(), 0, 0) }, 0);
    }

    #[test]
    fn what_the_c_library_lacks_says_so() {
        static BY_ERRNO: Next<Absolute> = Next::by_errno(c"everprof_no_such_function");
        static BY_RESULT: Next<Absolute> = Next::by_result(c"everprof_no_such_function");
        errno::set(7);
        // SAFETY: it ignores its argument.
        assert_eq!(unsafe { BY_RESULT.get()(1) }, libc::ENOSYS);
        assert_eq!(errno::get(), 7);
        // SAFETY: it ignores its argument.
        assert_eq!(unsafe { BY_ERRNO.get()(1) }, -1);
        assert_eq!(errno::get(), libc::ENOSYS);
    }
}
