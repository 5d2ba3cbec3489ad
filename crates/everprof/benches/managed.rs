//! A managed heap of 100,000 stacks: what its collector waits for, and its mutators.
//!
//! `next_cycle` is timed between allocations, when neither its code nor the clock's is in the
//! cache, and right behind a flush. `flush` is that of a cycle in which every stack has allocated. The mutator
//! records all it allocates (period 1) while flushes follow one another, and the longest
//! time that one record took is beside the longest without any flush: the difference is
//! what a flush holds it up for, the rest is the machine's.
//!
//! `cargo bench -p everprof --bench managed`

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use everprof_core::local::Local;
use everprof_core::managed::{Allocation, Freed, Heap};

const STACKS: usize = 100_000;
const DEPTH: usize = 32;

fn main() {
    let heap = Heap::new(256 << 20, 1).expect("memory");
    let local = Local::new();
    allocate_all(&heap, &local);
    println!(
        "{STACKS} stacks of depth {DEPTH}, {} MiB of records",
        heap.memory_used() >> 20
    );

    // Of a heap that has allocated, as a collector calls it: whatever the cache still has.
    let mut nothing: Vec<Duration> = Vec::new();
    let mut cycles: Vec<Duration> = Vec::new();
    let mut flushes: Vec<Duration> = Vec::new();
    for _ in 0..30 {
        // The clock is as cold as what it times: half of it is before, half behind.
        allocate_all(&heap, &local);
        nothing.push(Instant::now().elapsed());
        allocate_all(&heap, &local);
        cycles.push(time_next_cycle(&heap));
        let start = Instant::now();
        heap.flush();
        flushes.push(start.elapsed());
    }
    let clock = median((0..1000).map(|_| Instant::now().elapsed()).collect());
    println!(
        "the clock's own reading {clock:?}, and {:?} after {STACKS} allocations, in what follows",
        median(nothing)
    );
    println!(
        "next_cycle  median {:?} after {STACKS} allocations",
        median(cycles)
    );
    let again = (0..1000).map(|_| {
        let time = time_next_cycle(&heap);
        heap.flush();
        time
    });
    println!(
        "next_cycle  median {:?} after a flush",
        median(again.collect())
    );
    // The first two have nothing to move: allocations count two cycles ahead.
    println!("flush       median {:?}", median(flushes.split_off(2)));

    for flushing in [false, true] {
        let over = AtomicBool::new(false);
        let (longest, count) = std::thread::scope(|scope| {
            let mutator = scope.spawn(|| mutate(&heap, &over));
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                if flushing {
                    heap.next_cycle();
                    heap.flush();
                    heap.post_sweep();
                } else {
                    std::thread::yield_now();
                }
            }
            over.store(true, Ordering::Relaxed);
            mutator.join().expect("no panic")
        });
        let beside = if flushing {
            "beside flushes"
        } else {
            "undisturbed"
        };
        let [p99, p9999, most] = longest;
        println!(
            "mutator     {beside}: p99 {p99:?}, p99.99 {p9999:?}, longest {most:?} of {count}"
        );
    }
}

fn allocate_all(heap: &Heap, local: &Local) {
    for stack in 0..STACKS {
        record(heap, local, stack, 64 * (stack + 1));
        heap.record_free(64 * (stack + 1), Freed::Explicitly);
    }
}

fn record(heap: &Heap, local: &Local, stack: usize, address: usize) {
    let allocation = Allocation {
        address,
        size_bytes: 64,
        type_name: None,
        labels: 0,
    };
    if heap.is_due(local, 64) {
        heap.record_due_with(local, &allocation, |out| {
            for (frame, pc) in out.iter_mut().take(DEPTH).enumerate() {
                *pc = (0x1000 + stack * 64 + frame) as u64;
            }
            DEPTH
        });
    }
}

/// Allocates and frees; gives how long that took at worst.
fn mutate(heap: &Heap, over: &AtomicBool) -> ([Duration; 3], usize) {
    let local = Local::new();
    let mut times = Vec::with_capacity(1 << 24);
    let mut stack = 0;
    while !over.load(Ordering::Relaxed) && times.len() < times.capacity() {
        stack = (stack + 7919) % STACKS;
        let start = Instant::now();
        record(heap, &local, stack, 1 << 40);
        heap.record_free(1 << 40, Freed::BySweep);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    ([at(0.99), at(0.9999), at(1.0)], times.len())
}

fn time_next_cycle(heap: &Heap) -> Duration {
    let start = Instant::now();
    let went_on = black_box(heap).next_cycle();
    let time = start.elapsed();
    assert!(went_on);
    time
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
