//! Two epochs of counters, so that a snapshot is an instant and nobody waits.
//!
//! Context: sampled; `flip`, `settled` and the lock are cold.
//! Invariant: a side's cells are written only between `enter`, which named that
//! side, and `leave`.
//! Source: the hot and cold counts of Prometheus' Go client's histogram.
//!
//! Every bucket has two sides of cells. One word says which side is current and
//! how many recorders have entered since it became so; entering is one
//! fetch-and-add on it, so no recorder ever tries twice:
//!
//! | step | who | does |
//! |---|---|---|
//! | enter | recorder | `entered += 1`; the old value's top bit is the side to write |
//! | leave | recorder | `left[side] += 1`, Release |
//! | flip | snapshot | swaps `entered` for (other side, 0), adds the old count to `expected[old side]` |
//! | settled | snapshot | `left[side]` reached `expected[side]`: nobody writes that side any more |
//!
//! A recorder that was left in the middle (by longjmp out of a signal handler)
//! never leaves. A snapshot that finds a side still not settled where an earlier
//! one had waited in vain forgives it: it expects that recorder no more. Should
//! it come to its end after all (it was being debugged), `left` is more than was
//! expected, and the next look at the side takes that as expected.
//!
//! A free enters after its allocation entered, so it is never in an earlier
//! epoch than its allocation: what was entered before a flip is a consistent cut.

use crate::arena::{NewRecord, records};
use crate::cold_lock::{ColdLock, Held};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The shared state. All zero at first: side 0, nobody entered.
#[repr(C)]
#[derive(Debug)]
pub struct Epochs {
    /// Top bit: the current side; the rest: entries since the last flip.
    /// Written by recorders (`enter`) and by the snapshot (`flip`).
    entered: AtomicU64,
    /// How many left each side, ever. Written by recorders.
    left: [AtomicU64; 2],
    /// How many entered each side up to its last flip. Written by the snapshot
    /// that holds the lock.
    expected: [AtomicU64; 2],
    /// Held while somebody takes a snapshot.
    locked: ColdLock,
    spare: AtomicU32,
}

impl NewRecord for Epochs {
    fn new_record() -> Self {
        Self {
            entered: AtomicU64::new(0),
            left: [(); 2].map(|()| AtomicU64::new(0)),
            expected: [(); 2].map(|()| AtomicU64::new(0)),
            locked: ColdLock::new_record(),
            spare: AtomicU32::new(0),
        }
    }
}
records!(Epochs);

/// One recorder between `enter` and `leave`.
#[derive(Debug)]
#[must_use]
pub struct Entered<'a> {
    epochs: &'a Epochs,
    side: usize,
}

impl Entered<'_> {
    /// The side of the cells to write.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(left) = self.epochs.left.get(self.side) {
            // Release: publishes the cells that were written. Pairs with the
            // Acquire in `settled`.
            left.fetch_add(1, Ordering::Release);
        }
    }
}

impl Epochs {
    /// Starts writing cells: of the side that the result names, until it drops.
    pub fn enter(&self) -> Entered<'_> {
        // Acquire: pairs with the Release in `flip`, so that what this recorder
        // writes is not seen by the copy of this side that preceded the flip.
        // Release: whoever enters later (a free) or flips sees what came before.
        let before = self.entered.fetch_add(1, Ordering::AcqRel);
        Entered {
            epochs: self,
            side: side_of(before),
        }
    }

    /// The side that is not current: nobody writes it if it settled.
    #[must_use]
    pub fn resting_side(&self, _lock: &Lock<'_>) -> usize {
        // Relaxed: only lock holders change the side.
        1 - side_of(self.entered.load(Ordering::Relaxed))
    }

    /// Makes the resting side current; gives the side that was current.
    /// The instant of this swap is the instant of the snapshot.
    #[must_use]
    pub fn flip(&self, lock: &Lock<'_>) -> usize {
        let next = self.resting_side(lock);
        // Acquire: what entered before is ordered before. Release: what this
        // thread read of the side that now becomes current stays before it.
        let before = self
            .entered
            .swap((next as u64) << SIDE_BIT, Ordering::AcqRel);
        let side = side_of(before);
        if let Some(expected) = self.expected.get(side) {
            // Relaxed: read and written by lock holders only.
            let sum = expected
                .load(Ordering::Relaxed)
                .wrapping_add(before & COUNT_MASK);
            expected.store(sum, Ordering::Relaxed);
        }
        side
    }

    /// Whether everybody who entered `side` before its last flip has left it.
    /// Not to be asked about the current side.
    #[must_use]
    pub fn settled(&self, side: usize, _lock: &Lock<'_>) -> bool {
        let (Some(left), Some(expected)) = (self.left.get(side), self.expected.get(side)) else {
            return false;
        };
        // Acquire: pairs with the Release of `leave`; the cells are as written.
        let left = left.load(Ordering::Acquire);
        // Relaxed, both: lock holders only.
        let missing = expected.load(Ordering::Relaxed).wrapping_sub(left);
        if missing.cast_signed() < 0 {
            expected.store(left, Ordering::Relaxed);
        }
        missing.cast_signed() <= 0
    }

    /// Expects nobody any more who has not left `side` by now (module head).
    /// Not for the current side.
    pub fn forgive(&self, side: usize, _lock: &Lock<'_>) {
        if let (Some(left), Some(expected)) = (self.left.get(side), self.expected.get(side)) {
            // Acquire: as in `settled`. Relaxed: lock holders only.
            expected.store(left.load(Ordering::Acquire), Ordering::Relaxed);
        }
    }

    /// Back to the first state: in a fork's child, whose other threads are gone.
    pub fn reset(&self) {
        // Relaxed, all: only one thread is here.
        self.entered.store(0, Ordering::Relaxed);
        for (left, expected) in self.left.iter().zip(&self.expected) {
            left.store(0, Ordering::Relaxed);
            expected.store(0, Ordering::Relaxed);
        }
        self.locked.free();
    }

    /// Waits for other snapshots to end. Cold: not in a signal handler.
    pub fn lock(&self) -> Lock<'_> {
        Lock {
            _held: self.locked.lock(),
        }
    }
}

/// Held by the one snapshot that may flip. The next holder sees the side and the
/// expectations.
#[derive(Debug)]
pub struct Lock<'a> {
    _held: Held<'a>,
}

fn side_of(entered: u64) -> usize {
    (entered >> SIDE_BIT) as usize
}

const SIDE_BIT: u32 = 63;
const COUNT_MASK: u64 = (1 << SIDE_BIT) - 1;
#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Epochs>() == 48);

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn side_settles_when_the_last_one_leaves() {
        let epochs = Epochs::new_record();
        let lock = epochs.lock();
        let (first, second) = (epochs.enter(), epochs.enter());
        assert_eq!((first.side(), second.side()), (0, 0));
        assert_eq!(epochs.flip(&lock), 0);
        assert_eq!(
            epochs.enter().side(),
            1,
            "who comes later writes the other side"
        );
        assert!(!epochs.settled(0, &lock));
        drop(first);
        assert!(!epochs.settled(0, &lock));
        drop(second);
        assert!(epochs.settled(0, &lock));
    }

    #[test]
    fn sides_take_turns_and_late_leavers_are_waited_for() {
        let epochs = Epochs::new_record();
        let lock = epochs.lock();
        let stuck = epochs.enter();
        assert_eq!(epochs.flip(&lock), 0);
        assert_eq!(epochs.flip(&lock), 1);
        assert!(epochs.settled(1, &lock));
        drop(epochs.enter());
        assert_eq!(epochs.flip(&lock), 0);
        assert!(!epochs.settled(0, &lock));
        drop(stuck);
        assert!(epochs.settled(0, &lock));
    }

    #[test]
    fn recorder_that_was_left_in_the_middle_is_forgiven_and_may_still_leave() {
        let epochs = Epochs::new_record();
        let lock = epochs.lock();
        let stuck = epochs.enter();
        assert_eq!(epochs.flip(&lock), 0);
        epochs.forgive(0, &lock);
        assert!(epochs.settled(0, &lock));
        assert_eq!(epochs.flip(&lock), 1);
        let second = epochs.enter();
        assert_eq!(epochs.flip(&lock), 0);
        assert!(!epochs.settled(0, &lock), "others are waited for as ever");
        drop(second);
        assert!(epochs.settled(0, &lock));
        drop(stuck);
        assert!(epochs.settled(0, &lock));
        assert_eq!(epochs.flip(&lock), 1);
        let third = epochs.enter();
        assert_eq!(epochs.flip(&lock), 0);
        assert!(
            !epochs.settled(0, &lock),
            "who came late after all does not count for another"
        );
        drop(third);
    }
}
