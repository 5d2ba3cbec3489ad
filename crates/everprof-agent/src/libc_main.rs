//! The moment between the initialisers and `main`: here the endpoint starts.
//!
//! Context: cold. Every dynamic executable's entry code calls
//! `__libc_start_main`; at that moment the C library and every library of the
//! program are initialised, which a thread of ours may rely on, and nothing of
//! the program itself has run.
//!
//! Invariant: everything that the program does happens beneath this function, so it
//! leaves no frame of ours: it keeps its arguments, calls `before_main` and
//! jumps to the displaced function. That takes a few lines of assembly.

#[cfg(target_arch = "x86_64")]
#[path = "libc_main/entry_x86_64.rs"]
mod entry;
#[cfg(target_arch = "aarch64")]
#[path = "libc_main/entry_aarch64.rs"]
mod entry;

use crate::real::Slot;
use crate::serve;

type StartMain = unsafe extern "C" fn();

static NEXT: Slot<StartMain> = Slot::new();

/// Does what is to be done before `main`, and returns where to go on.
extern "C" fn before_main() -> StartMain {
    NEXT.find(&[c"__libc_start_main"]);
    let Some(next) = NEXT.get() else {
        // No C library under this name: the executable could not have started.
        std::process::abort();
    };
    serve::begin();
    next
}
