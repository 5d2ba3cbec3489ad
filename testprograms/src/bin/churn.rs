//! Every layout, every kind of realloc, checked byte by byte, on four threads.

fn main() {
    let threads: Vec<_> = (0..4)
        .map(|seed| std::thread::spawn(move || testprograms::churn(seed + 1, 30_000, 500)))
        .collect();
    for thread in threads {
        thread.join().expect("a churning thread");
    }
    testprograms::ok();
}
