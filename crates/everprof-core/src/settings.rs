//! Settings: the figures that may be changed at any time, by anyone.
//!
//! Context: any. Invariant: all bits zero is the first state of each (it is kept
//! xor its default), so that the process's own cost no bytes in the executable.
//! A copy stands in the arena's header, for readers in other processes.

use crate::arena::Header;
use crate::sync::{AtomicU64, Ordering};

/// Which figure. The number is its place in the arena's header and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Name {
    /// Mean bytes between heap samples; 0: off.
    HeapPeriod = 0,
    /// Nanoseconds from which on each wait is recorded; 0: off.
    BlockPeriod = 1,
    /// As the block period, of waits as charged to who ended them; 0: off.
    MutexPeriod = 2,
    /// One in so many wakes is recorded, whatever its length; 0: the period decides.
    MutexFraction = 3,
    /// A bit for each operation whose waits are recorded, see [`crate::waits`].
    WaitOperations = 4,
    /// As the block period, of the waits of tasks; 0: off.
    TaskblockPeriod = 5,
    /// 1: futures that are given to be watched are watched; 0: they are not.
    Tasks = 6,
}

/// What each is unless set otherwise. The heap's is Go's and tcmalloc's figure; a
/// wait of a millisecond is one that somebody could notice.
const DEFAULTS: [u64; COUNT] = [
    512 * 1024,
    1_000_000,
    1_000_000,
    0,
    crate::waits::DEFAULT_OPERATIONS,
    1_000_000,
    1,
];
const COUNT: usize = 7;

/// The figures of one process.
#[derive(Debug)]
pub struct Settings {
    /// Each xor its default. Written by anyone, read by every sampled event.
    figures: [AtomicU64; COUNT],
}

impl Settings {
    /// The defaults.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        Self {
            figures: [const { AtomicU64::new(0) }; COUNT],
        }
    }

    /// The figure in force.
    #[must_use]
    #[inline]
    pub fn get(&self, name: Name) -> u64 {
        let at = name as usize;
        // Relaxed, here and below: a figure of its own.
        self.figures[at].load(Ordering::Relaxed) ^ DEFAULTS[at]
    }

    /// Puts another in force.
    pub fn set(&self, name: Name, figure: u64) {
        let at = name as usize;
        self.figures[at].store(figure ^ DEFAULTS[at], Ordering::Relaxed);
    }

    /// Copies all of them to where readers look.
    pub fn publish(&self, header: &Header) {
        for (cell, (figure, default)) in header
            .settings
            .iter()
            .zip(self.figures.iter().zip(DEFAULTS))
        {
            cell.store(figure.load(Ordering::Relaxed) ^ default, Ordering::Relaxed);
        }
    }
}

/// The figure that an arena's owner had in force when it last said.
#[must_use]
pub fn published(header: &Header, name: Name) -> u64 {
    // Relaxed: a figure.
    header
        .settings
        .get(name as usize)
        .map_or(0, |cell| cell.load(Ordering::Relaxed))
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arena::Arena;

    #[test]
    fn figures_are_their_defaults_until_set_and_apart_from_one_another() {
        let settings = Settings::new();
        assert_eq!(settings.get(Name::HeapPeriod), 512 << 10);
        settings.set(Name::HeapPeriod, 0);
        settings.set(Name::MutexFraction, 5);
        assert_eq!(settings.get(Name::HeapPeriod), 0);
        assert_eq!(settings.get(Name::MutexPeriod), 1_000_000);
        assert_eq!(settings.get(Name::MutexFraction), 5);
    }

    #[test]
    fn readers_find_what_was_published_last() {
        let arena = Arena::anonymous(1 << 20).unwrap();
        let (settings, header) = (Settings::new(), arena.region().header());
        settings.publish(header);
        assert_eq!(published(header, Name::BlockPeriod), 1_000_000);
        settings.set(Name::BlockPeriod, 0);
        settings.set(Name::Tasks, 0);
        assert_eq!(published(header, Name::BlockPeriod), 1_000_000);
        settings.publish(header);
        for name in [Name::HeapPeriod, Name::BlockPeriod, Name::Tasks] {
            assert_eq!(published(header, name), settings.get(name), "{name:?}");
        }
    }
}
