//! `_exit`, `_Exit` and `quick_exit`: ends of a process at which nothing is asked that `atexit`
//! was told of. A trace that is being taken is brought to its end here
//! ([`Tracer::before_exit`](crate::trace::Tracer::before_exit)).
//!
//! Context: signal. Invariant: see `interpose`. A child of `fork` or `vfork` goes straight
//! through; where no trace is taken, everybody does.
//!
//! C's `exit` ends with the C library's own `_exit`, not by name, and so does `quick_exit` when
//! it has called its handlers.

use core::ffi::c_int;

use super::super::platform;
use super::next::{Function1, Next};
use crate::global;

type Exit = Next<Function1<c_int, c_int>>;

static UNDERSCORE: Exit = Next::by_errno(c"_exit");
static CAPITAL: Exit = Next::by_errno(c"_Exit");
static QUICK: Exit = Next::by_errno(c"quick_exit");

pub(super) fn resolve() {
    UNDERSCORE.look_up();
    CAPITAL.look_up();
    QUICK.look_up();
}

/// POSIX's `_exit`.
#[unsafe(no_mangle)]
extern "C-unwind" fn _exit(status: c_int) -> ! {
    leave(&UNDERSCORE, status)
}

/// C's `_Exit`.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "C's name")]
extern "C-unwind" fn _Exit(status: c_int) -> ! {
    leave(&CAPITAL, status)
}

/// C's `quick_exit`. What its handlers do comes behind the end of the trace.
#[unsafe(no_mangle)]
extern "C-unwind" fn quick_exit(status: c_int) -> ! {
    leave(&QUICK, status)
}

fn leave(next: &Exit, status: c_int) -> ! {
    global::tracer().before_exit();
    // SAFETY: none of them asks anything of the caller.
    unsafe { next.get()(status) };
    // A C library that has none, and so came back.
    loop {
        let words = [status as usize, 0, 0, 0, 0, 0];
        // SAFETY: as above.
        unsafe { platform::call(libc::SYS_exit_group, words) };
    }
}
