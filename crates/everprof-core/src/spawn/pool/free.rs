//! Free: a list of what may be used again.
//!
//! Context: sampled. Invariant: what is on the list is linked by its own word, and belongs to
//! nobody; whoever takes it off is the only one to have it. What was ever on the list stays
//! readable, so that a word read too late is another number and no fault.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The first of the list, and above it how often one was taken, so that a swap fails where the
/// same one came back meanwhile. All bits zero: empty. Numbers are not 0.
#[derive(Debug)]
pub struct FreeList(AtomicU64);

impl FreeList {
    /// An empty one.
    #[cfg(not(everprof_loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// As above: loom's atomics are made at run time.
    #[cfg(everprof_loom)]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        // Relaxed: a hint.
        self.0.load(Ordering::Relaxed) as u32 == 0
    }

    /// Forgets all that are on it: where nobody else is.
    pub fn clear(&self) {
        // Relaxed: only one thread is here.
        self.0.store(0, Ordering::Relaxed);
    }

    /// Puts `number` on it, which `link` belongs to.
    pub fn push(&self, number: u32, link: &AtomicU32) {
        // Relaxed: compared below.
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the swap.
            link.store(head as u32, Ordering::Relaxed);
            let new = head & !u64::from(u32::MAX) | u64::from(number);
            // Release: pairs with the Acquire in `pop`; what is free is as it was left.
            match self
                .0
                .compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes one off; `link_of` finds the word of a number that was put on it.
    pub fn pop<'l>(&self, link_of: impl Fn(u32) -> Option<&'l AtomicU32>) -> Option<u32> {
        // Acquire, here and on failure: pairs with the Release in `push`.
        let mut head = self.0.load(Ordering::Acquire);
        loop {
            let number = head as u32;
            if number == 0 {
                return None;
            }
            // Relaxed: another's by now, perhaps; then the count above has moved and
            // the swap fails.
            let next = link_of(number)?.load(Ordering::Relaxed);
            let taken = (head >> 32).wrapping_add(1) << 32;
            let new = taken | u64::from(next);
            match self
                .0
                .compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => return Some(number),
                Err(now) => head = now,
            }
        }
    }
}
