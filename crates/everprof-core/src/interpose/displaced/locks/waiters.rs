//! Who waits where, roughly: whether an unlock needs to be told.
//!
//! Context: signal. Invariant: while a thread waits at an address, its count is not 0.
//! It may be more than there are: two addresses may share a place, and a thread that is
//! cancelled in its wait, or leaves it by `longjmp`, is never counted out. That costs a
//! look at the recorder, which knows better.

use core::sync::atomic::{AtomicU32, Ordering};

/// A thousand locks that are waited for at once are more than any program seen.
const PLACES: usize = 1024;

/// Counts by the hash of an address.
///
/// Written by those who wait; read by those who unlock.
pub(super) struct Waiters([AtomicU32; PLACES]);

impl Waiters {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; PLACES])
    }

    /// Before a wait.
    pub(super) fn enter(&self, address: usize) {
        // Relaxed, here and below: a hint about one place. Whoever unlocks without having
        // seen this finds the waiter so early that there is nothing to tell.
        self.at(address).fetch_add(1, Ordering::Relaxed);
    }

    /// After it.
    pub(super) fn leave(&self, address: usize) {
        self.at(address).fetch_sub(1, Ordering::Relaxed);
    }

    /// How many wait at `address`, or more.
    #[inline(always)]
    pub(super) fn count(&self, address: usize) -> u32 {
        self.at(address).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn at(&self, address: usize) -> &AtomicU32 {
        // 2⁶⁴ divided by the golden ratio spreads neighbours (Knuth, volume 3, 6.4); the
        // upper bits are the ones that all of the address has gone into.
        let hash = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.0[(hash >> 54) as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_have_places_of_their_own() {
        let waiters = Waiters::new();
        for lock in 0..64 {
            waiters.enter(0x7f00_1000 + lock * 40);
        }
        let alone = (0..64).filter(|lock| waiters.count(0x7f00_1000 + lock * 40) == 1);
        assert!(alone.count() > 48);
        for lock in 0..64 {
            waiters.leave(0x7f00_1000 + lock * 40);
        }
        assert!(
            waiters
                .0
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 0)
        );
    }
}
