//! Asking glibc's loader.
//!
//! Context: cold: takes the loader's lock. Twin of `musl.rs`.

use core::ffi::{CStr, c_void};

/// Where today's condition variables began on x86-64; glibc for aarch64 began at 2.17, with
/// these alone.
const VERSION_OF_CONDITIONS: &CStr = if cfg!(target_arch = "x86_64") {
    c"GLIBC_2.3.2"
} else {
    c"GLIBC_2.17"
};

/// The symbols of which glibc for x86-64 has two that differ: for the older one a
/// `pthread_cond_t` is laid out otherwise. `dlsym` gives today's in glibc 2.36 but gave the
/// other in earlier ones; asked for by version there is no doubt.
const TWICE: [&CStr; 4] = [
    c"pthread_cond_wait",
    c"pthread_cond_timedwait",
    c"pthread_cond_signal",
    c"pthread_cond_broadcast",
];

/// The next definition of `name` after this module, or null.
pub(super) fn next(name: &CStr) -> *mut c_void {
    let found = if TWICE.contains(&name) {
        // SAFETY: both are C strings.
        unsafe {
            libc::dlvsym(
                libc::RTLD_NEXT,
                name.as_ptr(),
                VERSION_OF_CONDITIONS.as_ptr(),
            )
        }
    } else {
        // SAFETY: `name` is a C string.
        unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
    };
    if found.is_null() {
        // The error is not one of the program's, which would find it at its next question.
        // SAFETY: no preconditions.
        unsafe { libc::dlerror() };
    }
    found
}
