//! Panics through frames that have just been sampled, caught and started anew,
//! on several threads at once.

fn sink(depth: usize) -> Vec<u8> {
    let mine = vec![depth as u8; 1500];
    if depth == 0 {
        std::panic::resume_unwind(Box::new(mine));
    }
    let mut theirs = sink(depth - 1);
    theirs.extend_from_slice(&mine);
    theirs
}

fn main() {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                for depth in 0..400 {
                    let caught = std::panic::catch_unwind(|| sink(depth % 60));
                    let payload = caught.expect_err("every descent ends in a panic");
                    assert_eq!(payload.downcast_ref::<Vec<u8>>().map(Vec::len), Some(1500));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a thread that catches");
    }
    testprograms::ok();
}
