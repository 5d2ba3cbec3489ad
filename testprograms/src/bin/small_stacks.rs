//! Threads with the smallest stacks the platform gives, allocating at depth:
//! a capture must fit into what is left.

fn deep(left: usize, keep: &mut Vec<Vec<u8>>) {
    keep.push(vec![left as u8; 900]);
    if left > 0 {
        deep(left - 1, keep);
    }
    std::hint::black_box(keep.len());
}

fn main() {
    for stack_size in [16 * 1024, 32 * 1024, 64 * 1024] {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                std::thread::Builder::new()
                    .stack_size(stack_size)
                    .spawn(|| {
                        let mut keep = Vec::new();
                        deep(12, &mut keep);
                        keep.len()
                    })
                    .expect("a small thread")
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().expect("a small thread"), 13);
        }
    }
    testprograms::ok();
}
