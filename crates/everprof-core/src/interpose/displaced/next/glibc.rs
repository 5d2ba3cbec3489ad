//! Asking glibc's loader.
//!
//! Context: cold: takes the loader's lock. Twin of `musl.rs`.

use core::ffi::{CStr, c_void};

/// The symbols of which glibc has two that differ: `dlsym` would give the older one, whose
/// condition variables are laid out otherwise. 2.3.2 is where today's began on x86-64;
/// glibc for aarch64 began at 2.17, with these alone.
const VERSION_OF_CONDITIONS: &CStr = if cfg!(target_arch = "x86_64") {
    c"GLIBC_2.3.2"
} else {
    c"GLIBC_2.17"
};

/// The next definition of `name` after this module, or null.
pub(super) fn next(name: &CStr) -> *mut c_void {
    let versioned = if name.to_bytes().starts_with(b"pthread_cond_") {
        // SAFETY: both are C strings.
        unsafe {
            libc::dlvsym(
                libc::RTLD_NEXT,
                name.as_ptr(),
                VERSION_OF_CONDITIONS.as_ptr(),
            )
        }
    } else {
        core::ptr::null_mut()
    };
    if !versioned.is_null() {
        return versioned;
    }
    // SAFETY: `name` is a C string.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}
