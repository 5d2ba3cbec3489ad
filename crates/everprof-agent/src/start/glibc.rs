//! Entry where the loader passes the environment to initialisers (glibc).
//!
//! Context: cold. Twin of `musl.rs`.

use std::ffi::{c_char, c_int};

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = entry;

extern "C" fn entry(_: c_int, _: *mut *mut c_char, environment: *mut *mut c_char) {
    // SAFETY: glibc calls initialisers once, with main's arguments and before
    // other threads can exist: only the loader has run.
    unsafe { super::start(environment) }
}
