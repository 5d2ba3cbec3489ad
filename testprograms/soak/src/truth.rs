//! What the service knows of itself: counters that it adds to beside what is profiled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A pair of sites that do the same, in a proportion that the load decides.
pub struct Pair([AtomicU64; 2]);

/// One of the two.
#[derive(Clone, Copy)]
pub enum Side {
    One,
    Other,
}

impl Pair {
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 2])
    }

    pub fn add(&self, side: Side, amount: u64) {
        self.0[side as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub fn take_off(&self, side: Side, amount: u64) {
        self.0[side as usize].fetch_sub(amount, Ordering::Relaxed);
    }

    pub fn now(&self) -> [f64; 2] {
        [0, 1].map(|side| self.0[side].load(Ordering::Relaxed) as f64)
    }
}

/// Bytes that `makes_one` and `makes_other` have allocated.
pub static ALLOCATED: Pair = Pair::new();
/// Bytes that these have in the cache.
pub static CACHED: Pair = Pair::new();
/// Nanoseconds in `waits_for_lock` and `waits_for_word`, by clocks.
pub static WAITED: Pair = Pair::new();
/// Processor time in `burns_one` and `burns_other`.
pub static BURNT: Pair = Pair::new();
/// Threads that `bears_one` and `bears_other` have created.
pub static BORN: Pair = Pair::new();

/// Runs `work` and adds how long it took.
pub fn timed<R>(pair: &Pair, side: Side, work: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = work();
    pair.add(side, begun.elapsed().as_nanos() as u64);
    result
}

/// Processor time of this thread.
pub fn cpu_nanos() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
