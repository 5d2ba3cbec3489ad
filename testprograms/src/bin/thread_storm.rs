//! Thousands of short threads, each allocating and dying at once, in waves.

fn main() {
    for wave in 0..40 {
        let threads: Vec<_> = (0..100)
            .map(|i| {
                std::thread::spawn(move || {
                    let keep: Vec<Vec<u8>> = (0..20).map(|j| vec![i as u8; 100 + 50 * j]).collect();
                    keep.len() + wave
                })
            })
            .collect();
        let total: usize = threads
            .into_iter()
            .map(|t| t.join().expect("a short thread"))
            .sum();
        assert_eq!(total, 100 * (20 + wave));
    }
    testprograms::ok();
}
