//! `exit` from a thread while others allocate: destructors and handlers run
//! beside them, and the status is the one that was given.

fn main() {
    extern "C" fn late() {
        testprograms::churn(99, 500, 50);
        testprograms::ok();
    }
    // SAFETY: `late` touches nothing that is gone at exit.
    assert_eq!(unsafe { libc::atexit(late) }, 0);
    for seed in 0..3 {
        std::thread::spawn(move || {
            loop {
                testprograms::churn(seed, 300, 50);
            }
        });
    }
    std::thread::spawn(|| {
        testprograms::churn(5, 5000, 100);
        std::process::exit(0);
    });
    loop {
        testprograms::churn(6, 300, 50);
    }
}
