//! `errno` as the program left it.
//!
//! Context: sampled. Invariant: a successful allocation does not change `errno`, whatever
//! the recording around it called.

/// The value of `errno` when it was made.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Errno(libc::c_int);

impl Errno {
    /// Remembers the present value.
    pub(crate) fn now() -> Self {
        // SAFETY: `location` is always valid.
        Self(unsafe { *location() })
    }

    /// Makes it the present value again.
    pub(crate) fn restore(self) {
        Self::set(self.0);
    }

    /// Makes `value` the present value.
    pub(crate) fn set(value: libc::c_int) {
        // SAFETY: `location` is always valid.
        unsafe { *location() = value }
    }
}

/// Where the C library keeps this thread's value.
fn location() -> *mut libc::c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::multiple_unsafe_ops_per_block)]
    use super::*;

    #[test]
    fn restores_what_was_there() {
        Errno::set(libc::ENOENT);
        let before = Errno::now();
        Errno::set(libc::EIO);
        before.restore();
        assert_eq!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::ENOENT)
        );
    }
}
