//! Filter: is this address certainly not that of a sampled object?
//!
//! Context: hot (`may_hold`); sampled (`add`, `remove`).
//! Invariant: while an object is in the in-use store, its counter is not 0.
//!
//! A free is told nothing but an address. 65,536 counters of one byte answer for
//! nearly all of them with one load. A counter that reached 127 stays there: it
//! cannot tell any more, and says "perhaps" for good. The top bit of each says "look
//! anyway": somebody besides the store wants to see frees (a trace). So whoever only asks
//! whether a counter is 0 need not know of that.
//!
//! The counters of an object are written by the thread that allocates it before
//! its address is handed out, and by the one that frees it; whoever frees it has
//! got the address from there, so Relaxed is enough throughout.

use crate::sync::{AtomicU8, Ordering};

/// Few under Miri, which looks at each of them at each call.
const COUNTERS: usize = if cfg!(miri) { 1 << 6 } else { 1 << 16 };

/// Look anyway.
const LOOK: u8 = 1 << 7;
/// Where a counter stays.
const MOST: u8 = LOOK - 1;

/// The counters. All zero at first.
#[derive(Debug)]
pub struct Filter {
    counters: [AtomicU8; COUNTERS],
}

impl Filter {
    /// Nobody is in it.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "64 KiB: to be placed, not passed"
    )]
    pub const fn new() -> Self {
        Self {
            counters: [const { AtomicU8::new(0) }; COUNTERS],
        }
    }

    /// As [`Filter::new`], of the global allocator's memory. Cold.
    #[must_use]
    pub fn boxed() -> Box<Self> {
        // Not by way of the stack, which may be smaller than the filter.
        let zeroed = Box::<Self>::new_zeroed();
        // SAFETY: integers only, of which zero is the first state (`new`).
        unsafe { zeroed.assume_init() }
    }

    /// False: the object at `address` is certainly not in the store.
    #[inline(always)]
    #[must_use]
    pub fn may_hold(&self, address: usize) -> bool {
        self.counter(address).load(Ordering::Relaxed) != 0
    }

    /// False: the object at `address` is certainly not in the store, whoever else wants
    /// to see it.
    #[inline(always)]
    #[must_use]
    pub fn may_hold_sample(&self, address: usize) -> bool {
        self.counter(address).load(Ordering::Relaxed) & MOST != 0
    }

    /// From here on every object may be one that somebody wants to see, for good: objects
    /// that are marked may go at any time. Cold.
    pub fn look_at_all(&self) {
        for counter in &self.counters {
            counter.fetch_or(LOOK, Ordering::Relaxed);
        }
    }

    /// Counts an object that comes into the store.
    pub fn add(&self, address: usize) {
        let step = |count: u8| (count & MOST != MOST).then(|| count + 1);
        let _ = self
            .counter(address)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// Discounts an object that left the store.
    pub fn remove(&self, address: usize) {
        let step = |count: u8| {
            let counted = count & MOST;
            (counted != MOST && counted != 0).then(|| count - 1)
        };
        let _ = self
            .counter(address)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// Forgets what was counted, where the store is emptied. Objects that a trace has marked
    /// are not the store's: they are looked at as before.
    pub fn clear(&self) {
        for counter in &self.counters {
            counter.fetch_and(!MOST, Ordering::Relaxed);
        }
    }

    /// The top bits of the product depend on all bits of the address, and there
    /// are exactly as many as name a counter: no bounds check is left.
    #[inline(always)]
    fn counter(&self, address: usize) -> &AtomicU8 {
        // 2⁶⁴ ÷ golden ratio, odd (Knuth, TAOCP 6.4).
        let index = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 16);
        &self.counters[index as usize & (COUNTERS - 1)]
    }
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_did_not_leave_may_be_there() {
        let filter = Box::new(Filter::new());
        assert!(!filter.may_hold(4096));
        filter.add(4096);
        filter.add(4096);
        filter.remove(4096);
        assert!(filter.may_hold(4096));
        filter.remove(4096);
        assert!(!filter.may_hold(4096));
    }

    #[test]
    fn looking_at_all_leaves_the_counts_and_outlives_them() {
        let filter = Box::new(Filter::new());
        filter.add(4096);
        filter.look_at_all();
        assert!(filter.may_hold(64) && !filter.may_hold_sample(64));
        assert!(filter.may_hold_sample(4096));
        filter.add(64);
        filter.remove(4096);
        assert!(filter.may_hold_sample(64) && !filter.may_hold_sample(4096));
        filter.clear();
        assert!(filter.may_hold(64) && !filter.may_hold_sample(64));
    }

    #[test]
    fn full_counter_never_says_no_again() {
        let filter = Box::new(Filter::new());
        for _ in 0..300 {
            filter.add(64);
        }
        for _ in 0..300 {
            filter.remove(64);
        }
        assert!(filter.may_hold(64));
    }
}
