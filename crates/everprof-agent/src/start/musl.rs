//! Entry where initialisers get no arguments but `environ` is set before them (musl).
//!
//! Context: cold. Twin of `glibc.rs`.

use std::ffi::c_char;

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = entry;

extern "C" fn entry() {
    // SAFETY: musl sets `environ` in `__init_libc`, before any initialiser runs.
    let environment = unsafe { environ };
    // SAFETY: initialisers run once, before other threads can exist.
    unsafe { super::start(environment) }
}
