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

use std::ffi::{CString, c_int, c_void};
use std::path::Path;
use std::process::Command;

use everprof_core::waits::{self, Operation, told};

type CancelledIn = unsafe extern "C" fn(c_int, c_int) -> c_int;

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

#[test]
fn cancelled_waits_unwind_through_us() {
    use Operation::{Io, Join, Sleep};
    waits::want_all();
    let cancelled_in = cancelled_in();
    // In the order of `cancel.c`'s list. The last two are ours under the agent only.
    let kinds = [Io, Io, Io, Io, Io, Sleep, Sleep, Join].map(Some);
    let kinds = kinds.iter().chain(&[None, None]);
    for (what, kind) in kinds.enumerate() {
        for asleep in [0, 1] {
            let kind = kind.unwrap_or(Operation::Condition);
            let before = told(kind);
            // SAFETY: as `cancel.c` has it.
            let cleaned = unsafe { cancelled_in(what as c_int, asleep) };
            assert_eq!(cleaned, 1, "{what} {asleep}");
            let ours = kind != Operation::Condition || cfg!(feature = "preload");
            assert!(told(kind) > before || !ours, "{what} {asleep}");
        }
    }
}
