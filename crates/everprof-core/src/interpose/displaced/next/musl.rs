//! Asking musl's loader, which knows no versions.
//!
//! Context: cold: takes the loader's lock. Twin of `glibc.rs`.

use core::ffi::{CStr, c_void};

/// The next definition of `name` after this module, or null.
pub(super) fn next(name: &CStr) -> *mut c_void {
    // SAFETY: `name` is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        // The error is not one of the program's, which would find it at its next question.
        // SAFETY: no preconditions.
        unsafe { libc::dlerror() };
    }
    found
}
