//! Signals that end every call, to every thread, over and over.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many came.
pub fn count() -> u64 {
    // Relaxed: a figure.
    COUNT.load(Ordering::Relaxed)
}

/// Also where it interrupts the allocator or a lock: it only counts.
extern "C" fn handler(_: c_int) {
    // Relaxed: a figure.
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Counts SIGUSR1. Without SA_RESTART: calls end with EINTR.
pub fn install_handler() {
    // SAFETY: all bytes zero is a valid sigaction: no handler, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: the handler only adds to an atomic.
    let installed =
        unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
}

/// Signals each thread of the process, waits for `pause`, and does so again until `is_over`.
pub fn signal_everybody(pause: Duration, is_over: impl Fn() -> bool) {
    let process = std::process::id();
    while !is_over() {
        for entry in std::fs::read_dir("/proc/self/task")
            .expect("there is /proc")
            .flatten()
        {
            let name = entry.file_name();
            if let Some(tid) = name.to_str().and_then(|name| name.parse::<c_int>().ok()) {
                // SAFETY: asks for a signal to a thread of this process, or to none.
                unsafe { libc::syscall(libc::SYS_tgkill, process, tid, libc::SIGUSR1) };
            }
        }
        thread::sleep(pause);
    }
}
