//! Asking musl's loader, which knows no versions.
//!
//! Context: cold: takes the loader's lock. Twin of `glibc.rs`.

use core::ffi::{CStr, c_void};

/// The next definition of `name` after this module, or null.
pub(super) fn next(name: &CStr) -> *mut c_void {
    // SAFETY: `name` is a C string.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}
