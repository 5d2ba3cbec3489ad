//! The signal that running threads are asked with, in a process of its own: it is the
//! process's, once chosen.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    // The emulator has handlers of its own for all of them.
    not(everprof_emulated),
    // ThreadSanitizer keeps a signal from a thread that only computes.
    not(everprof_sanitizer = "thread")
))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Whether the process has a handler for it, as the kernel tells.
fn is_handled(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    mask >> (signal - 1) & 1 == 1
}

/// The patience of a failure: a busy machine may give the thread no processor in many dumps.
const MOST_DUMPS: usize = 1_000;

#[test]
fn running_threads_are_asked_with_the_chosen_signal_and_no_other() {
    let chosen = libc::SIGRTMIN() + 5;
    for merged in [libc::SIGUSR1, libc::SIGKILL, 0, -1, 1 << 20] {
        let error = everprof::threads::set_signal(merged).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("SIGRTMIN"));
    }
    everprof::threads::set_signal(chosen).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = thread::Builder::new().name("busy".into());
        let spin = || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        busy.spawn_scoped(scope, spin).unwrap();
        let is_asked = (0..MOST_DUMPS).any(|_| {
            let records = everprof::threads::records().unwrap();
            let busy = records.iter().find(|record| record.name == "busy");
            busy.is_some_and(|busy| busy.stack.len() > 1)
        });
        stop.store(true, Ordering::Relaxed);
        assert!(is_asked);
    });
    assert!(is_handled(chosen));
    assert!(
        (libc::SIGRTMIN()..=libc::SIGRTMAX()).all(|other| other == chosen || !is_handled(other))
    );
}
