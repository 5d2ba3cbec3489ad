//! A thread that is cancelled in a function of ours ends as it does in the C library's,
//! and its waits were ours: a C library's calls come here, too.

// Static programs have neither `dlopen` nor the functions.
#![cfg(all(
    feature = "interpose",
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]

mod seen;

use std::ffi::{CString, c_int, c_void};
use std::path::Path;
use std::process::Command;

use everprof_core::waits::Operation::{self, Condition, Io, Join, Sleep};
use seen::{is_blocked, want_all};

type Asleep = extern "C" fn(c_int, c_int) -> c_int;
type CancelledIn = unsafe extern "C" fn(c_int, Option<Asleep>, *mut c_int) -> c_int;

/// In the order of `cancel.c`'s list. The last two are ours under the agent only.
const KINDS: [Operation; 10] = [Io, Io, Io, Io, Io, Sleep, Sleep, Join, Condition, Condition];

fn is_ours(kind: Operation) -> bool {
    kind != Condition || cfg!(feature = "preload")
}

extern "C" fn asleep(tid: c_int, what: c_int) -> c_int {
    let kind = KINDS[what as usize];
    c_int::from(!is_ours(kind) || is_blocked(tid.cast_unsigned(), kind))
}

fn cancelled_in() -> CancelledIn {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interpose/cancel.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libcancel.so");
    let compiler = if cfg!(target_arch = "aarch64") {
        std::env::var("CC_aarch64_unknown_linux_gnu").unwrap_or_else(|_| "cc".into())
    } else {
        "cc".into()
    };
    let built = Command::new(compiler)
        .args(["-O1", "-shared", "-fPIC", "-pthread", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    let name = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: a library without initialisers.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null());
    // SAFETY: an open library.
    let symbol = unsafe { libc::dlsym(handle, c"cancelled_in".as_ptr()) };
    assert!(!symbol.is_null());
    // SAFETY: its type in `cancel.c`.
    unsafe { std::mem::transmute::<*mut c_void, CancelledIn>(symbol) }
}

/// Whether this process has such a thread.
fn is_there(tid: c_int) -> bool {
    // SAFETY: a plain system call; signal 0 is sent to nobody.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), tid, 0) == 0 }
}

#[test]
fn cancelled_waits_unwind_through_us_and_leave_no_waiter() {
    want_all();
    let cancelled_in = cancelled_in();
    for (what, kind) in KINDS.into_iter().enumerate() {
        for asleep in [None, Some(asleep as Asleep)] {
            let mut tid = 0;
            // SAFETY: as `cancel.c` has it.
            let cleaned = unsafe { cancelled_in(what as c_int, asleep, &raw mut tid) };
            assert_eq!(cleaned, 1, "{what} {asleep:?}");
            // Joined it may be there yet, for the kernel.
            while is_there(tid) {
                std::thread::yield_now();
            }
            assert!(!is_blocked(tid.cast_unsigned(), kind), "{what} {asleep:?}");
        }
    }
}
