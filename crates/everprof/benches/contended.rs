//! Threads that allocate and free at once, on one stack: the worst a bucket sees.

mod clock;

use std::alloc::{GlobalAlloc, Layout, System};

use clock::{PROFILED, compare, heading, pairs};

const PAIRS: u32 = 20_000;

fn main() {
    heading("ns from start to end ÷ pairs of a thread");
    for (name, period) in [
        ("period 512 KiB", 512 << 10),
        ("period 4 KiB", 4 << 10),
        ("period 1", 1),
    ] {
        everprof::heap::set_period(period);
        for threads in [1, 2, 8] {
            let name = format!("{name}, {threads} threads");
            compare(
                &name,
                PAIRS,
                || on_threads(&System, threads),
                || on_threads(&PROFILED, threads),
            );
        }
    }
}

fn on_threads(allocator: &(impl GlobalAlloc + Sync), threads: u32) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| pairs(allocator, Layout::new::<[u64; 8]>(), PAIRS));
        }
    });
}
