//! What the service knows of itself: counters that it adds to beside what is profiled.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
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
/// Nanoseconds that others waited for the lock since the unlock before, at each unlock in
/// `holds_one` and `holds_other`.
pub static HELD_UP: Pair = Pair::new();
/// Those who wait for the lock.
pub static QUEUE: Queue = Queue::new();
/// Processor time in `burns_one` and `burns_other`.
pub static BURNT: Pair = Pair::new();
/// Threads that `bears_one` and `bears_other` have created.
pub static BORN: Pair = Pair::new();

/// Who waits for the lock, and how long all of them have waited together.
///
/// A wait ends with the unlock that wakes who waits, as the profile has it: what the woken one
/// then takes to the processor is nobody's lock. If another takes the lock meanwhile, it waits on.
pub struct Queue {
    /// Turns are taken by spinning: a lock would be in the profiles.
    is_taken: AtomicBool,
    waiting: AtomicU64,
    /// Woken, and not there yet.
    woken: AtomicU64,
    /// All waits together, up to the last change.
    waited_nanos: AtomicU64,
    changed_nanos: AtomicU64,
    charged_nanos: AtomicU64,
}

impl Queue {
    const fn new() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            woken: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
            changed_nanos: AtomicU64::new(0),
            charged_nanos: AtomicU64::new(0),
        }
    }

    /// Runs `lock` as one who waits.
    pub fn wait<R>(&self, lock: impl FnOnce() -> R) -> R {
        self.change(|waiting, woken| (waiting + 1, woken));
        let held = lock();
        self.change(|waiting, woken| match woken {
            0 => (waiting - 1, 0),
            _ => (waiting, woken - 1),
        });
        held
    }

    /// Somebody has the lock who did not wait for it.
    pub fn pass(&self) {
        self.change(|waiting, woken| (waiting + woken, 0));
    }

    /// Whoever calls is about to unlock: what was waited since the unlock before.
    pub fn unlock(&self) -> u64 {
        let waited_nanos = self.change(|waiting, woken| match waiting {
            0 => (0, woken),
            _ => (waiting - 1, woken + 1),
        });
        waited_nanos - self.charged_nanos.swap(waited_nanos, Ordering::Relaxed)
    }

    fn change(&self, to: impl FnOnce(u64, u64) -> (u64, u64)) -> u64 {
        while self.is_taken.swap(true, Ordering::Acquire) {
            thread::yield_now();
        }
        // Relaxed, all: who has the turn writes them.
        let (now, before) = (now_nanos(), self.waiting.load(Ordering::Relaxed));
        let passed = now - self.changed_nanos.swap(now, Ordering::Relaxed);
        let waited = self.waited_nanos.load(Ordering::Relaxed) + before * passed;
        self.waited_nanos.store(waited, Ordering::Relaxed);
        let (waiting, woken) = to(before, self.woken.load(Ordering::Relaxed));
        self.waiting.store(waiting, Ordering::Relaxed);
        self.woken.store(woken, Ordering::Relaxed);
        self.is_taken.store(false, Ordering::Release);
        waited
    }
}

fn now_nanos() -> u64 {
    nanos_of(libc::CLOCK_MONOTONIC)
}

/// Runs `work` and adds how long it took.
pub fn timed<R>(pair: &Pair, side: Side, work: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = work();
    pair.add(side, begun.elapsed().as_nanos() as u64);
    result
}

/// Processor time of this thread.
pub fn cpu_nanos() -> u64 {
    nanos_of(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn nanos_of(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is ours to write.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
