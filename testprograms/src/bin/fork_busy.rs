//! Forks from a process whose other threads are allocating without pause; each
//! child goes on allocating, with threads of its own, and exits cleanly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() {
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..3)
        .map(|seed| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    testprograms::churn(seed * 1000 + round, 100, 30);
                }
            })
        })
        .collect();
    let inherited: Vec<Vec<u8>> = (0..200).map(|i| vec![i as u8; 2000]).collect();
    for _ in 0..20 {
        // SAFETY: glibc and musl keep their own heaps usable in the child of a
        // threaded process; the child only allocates, computes and exits.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            drop(inherited);
            testprograms::churn(7, 500, 50);
            let thread = std::thread::spawn(|| testprograms::churn(8, 500, 50));
            let code = i32::from(thread.join().is_err());
            // SAFETY: ends the child at once, as a forked child should.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `pid` is our child and `status` is writable.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(waited, pid);
        assert_eq!(status, 0, "a child ended with status {status:#x}");
    }
    stop.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().expect("a busy thread");
    }
    testprograms::ok();
}
