//! Cells: the counters of a bucket.
//!
//! Context: sampled. Invariant: a side's counters only grow while recorders count there; what
//! is moved elsewhere is moved once.

use crate::arena::{NewRecord, records};
use crate::sync::{AtomicU64, Ordering};

/// How many counters a bucket has on each side. What each of them counts is the
/// business of whoever records into the table.
pub const COUNTERS: usize = 8;

/// One side of a bucket's counters (see [`crate::epoch`]). Written by recorders,
/// each with fetch-and-add; they only grow.
///
/// A counter that means nothing without another (what was freed, of what was
/// allocated) stands behind it: later ones are read first.
#[repr(C)]
#[derive(Debug)]
pub struct Cells([AtomicU64; COUNTERS]);

/// Whether somebody may be counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counters {
    /// Nobody does.
    AtRest,
    /// Somebody may.
    InUse,
}

/// The counters of a bucket whose snapshots are instants: two sides that take turns.
#[repr(C)]
#[derive(Debug)]
pub struct Sides(pub(super) [Cells; 2]);

impl Cells {
    /// Adds `amounts` to the counters from `first` on.
    #[inline]
    pub fn add(&self, first: usize, amounts: &[u64]) {
        for (cell, amount) in self.0.iter().skip(first).zip(amounts) {
            // Release: a reader that sees this free (Acquire in `read`) also sees
            // its allocation, which happened before. On the way to a snapshot in
            // the same process the epochs order everything anyway.
            cell.fetch_add(*amount, Ordering::Release);
        }
    }

    /// The counters, the last read first.
    #[must_use]
    pub fn read(&self) -> [u64; COUNTERS] {
        let mut counters = [0; COUNTERS];
        for (counter, cell) in counters.iter_mut().zip(&self.0).rev() {
            // Acquire: pairs with the Release in `add`.
            *counter = cell.load(Ordering::Acquire);
        }
        counters
    }

    /// One of the counters.
    #[must_use]
    pub fn read_one(&self, index: usize) -> u64 {
        // Acquire: as in `read`.
        self.0
            .get(index)
            .map_or(0, |cell| cell.load(Ordering::Acquire))
    }

    /// Moves what was counted to `sum`, which nobody else writes meanwhile. Where
    /// nobody counts here any more this takes no locked instruction, of which eight a
    /// bucket are most of the time that moving takes.
    #[inline]
    pub fn move_to(&self, sum: &Self, counters: Counters) {
        for (cell, sum) in self.0.iter().zip(&sum.0) {
            // Relaxed, all: whoever moves has waited for those who counted, and what is
            // counted late moves the next time.
            let mut counted = cell.load(Ordering::Relaxed);
            if counted == 0 {
                continue;
            }
            match counters {
                Counters::AtRest => cell.store(0, Ordering::Relaxed),
                Counters::InUse => counted = cell.swap(0, Ordering::Relaxed),
            }
            let before = sum.load(Ordering::Relaxed);
            sum.store(before.wrapping_add(counted), Ordering::Relaxed);
        }
    }

    /// Back to nothing: in a fork's child, where only one thread is.
    pub(super) fn clear(&self) {
        for cell in &self.0 {
            // Relaxed: only one thread is there.
            cell.store(0, Ordering::Relaxed);
        }
    }
}

impl NewRecord for Cells {
    fn new_record() -> Self {
        Self([(); COUNTERS].map(|()| AtomicU64::new(0)))
    }
}

impl NewRecord for Sides {
    fn new_record() -> Self {
        Self([(); 2].map(|()| Cells::new_record()))
    }
}
records!(Cells, Sides);
