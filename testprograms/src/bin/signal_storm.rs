//! A timer signal every 200 µs of CPU time while every allocation is sampled:
//! whatever the recorder is in the middle of, it is interrupted there.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

fn main() {
    // SAFETY: all bytes zero is a valid sigaction: no handler, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler only adds to an atomic.
    let installed =
        unsafe { libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: 200,
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: `timer` is a valid itimerval.
    let started =
        unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(started, 0);
    let threads: Vec<_> = (0..3)
        .map(|seed| std::thread::spawn(move || testprograms::churn(seed, 40_000, 300)))
        .collect();
    for thread in threads {
        thread.join().expect("a churning thread");
    }
    assert!(
        SIGNALS.load(Ordering::Relaxed) > 10,
        "the timer never fired"
    );
    testprograms::ok();
}
