//! The moment between the initialisers and `main`: here the endpoint starts.
//!
//! Context: cold. Every dynamic executable's entry code calls
//! `__libc_start_main`; at that moment the C library and every library of the
//! program are initialised, which a thread of ours may rely on, and nothing of
//! the program itself has run.

use std::ffi::{c_char, c_int, c_void};

use crate::real::Slot;

type Main = Option<unsafe extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) -> c_int>;
type StartMain = unsafe extern "C" fn(
    Main,
    c_int,
    *mut *mut c_char,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
) -> c_int;

static NEXT: Slot<StartMain> = Slot::new();

/// The C library's entry: initialises, calls `main`, exits.
///
/// # Safety
/// As the C library's; called by the executable's entry code only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __libc_start_main(
    main: Main,
    argc: c_int,
    argv: *mut *mut c_char,
    init: *mut c_void,
    fini: *mut c_void,
    loader_fini: *mut c_void,
    stack_end: *mut c_void,
) -> c_int {
    NEXT.find(&[c"__libc_start_main"]);
    let Some(next) = NEXT.get() else {
        // No C library under this name: the executable could not have started.
        std::process::abort();
    };
    // SAFETY: passes the entry code's own arguments on. Both versions of
    // glibc's symbol are one function, which looks at `init` to tell them apart.
    unsafe { next(main, argc, argv, init, fini, loader_fini, stack_end) }
}
