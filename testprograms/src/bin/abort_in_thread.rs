//! `abort` from a thread while others allocate. Ends by SIGABRT, and at once.

fn main() {
    // SAFETY: no core file of ours is wanted; a failed call changes nothing.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
    for seed in 0..3 {
        std::thread::spawn(move || {
            loop {
                testprograms::churn(seed, 300, 50);
            }
        });
    }
    let _ = std::thread::spawn(|| {
        testprograms::churn(5, 5000, 100);
        testprograms::ok();
        std::process::abort();
    })
    .join();
}
