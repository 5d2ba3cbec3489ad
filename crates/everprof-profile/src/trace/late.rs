//! Late: frees whose allocation comes behind them, and the other way round.
//!
//! Context: cold.
//! Invariant: of one address, a free ends the object that was allocated at its time or
//! before, in whichever order the two come. Memory is bounded, and what is forgotten is
//! the oldest.
//!
//! Events of one address come out of order when two threads made them at the same time, or
//! when a recorder was late by more than a round, which the merge does not mend. Their
//! times are right all the same. Two cases need memory:
//!
//! | comes first | then | what is done |
//! |---|---|---|
//! | a free of nothing | an allocation that is no later, by another thread | it is free at once |
//! | an allocation where an object is | a free that is no later | the object ended then; the free is spent |
//!
//! What is not mended is an object that came and went at an address, all of it late, between
//! an allocation and a free that were not: it stays in use.

use std::collections::BTreeMap;

/// What of the last events of other threads is still open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Late {
    /// With the thread.
    frees: Recent<u32>,
    displaced: Recent<()>,
    /// No open free, no open displacement is later: nearly all events are later than
    /// both, and need not look.
    latest_free: u64,
    latest_displaced: u64,
}

impl Late {
    /// Remembers a free at an address where no object was.
    pub(crate) fn free_of_nothing(&mut self, address: u64, time: u64, thread: u32) {
        self.latest_free = self.latest_free.max(time);
        self.frees.insert(address, time, thread);
    }

    /// Remembers that an object ended because another one was allocated in its place.
    pub(crate) fn displaced(&mut self, address: u64, time: u64) {
        self.latest_displaced = self.latest_displaced.max(time);
        self.displaced.insert(address, time, ());
    }

    /// The time at which an object that is allocated now was freed already.
    #[inline]
    pub(crate) fn freed_at(&mut self, address: u64, time: u64, thread: u32) -> Option<u64> {
        if time > self.latest_free {
            return None;
        }
        self.frees.take_from(address, time, |of| *of != thread)
    }

    /// Whether a free is that of an object that was displaced, and so spent.
    #[inline]
    pub(crate) fn is_spent(&mut self, address: u64, time: u64) -> bool {
        time <= self.latest_displaced
            && self.displaced.take_from(address, time, |()| true).is_some()
    }
}

/// The last entries, by address and time.
#[derive(Clone, Debug)]
struct Recent<T> {
    young: BTreeMap<(u64, u64), T>,
    old: BTreeMap<(u64, u64), T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
        }
    }
}

/// Events are late by a round, some tenths of a second; of those that are open for longer
/// nearly all are frees of what was there before the trace.
const MOST_YOUNG: usize = 1 << 14;

impl<T> Recent<T> {
    fn insert(&mut self, address: u64, time: u64, entry: T) {
        if self.young.len() >= MOST_YOUNG {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((address, time), entry);
    }

    /// Takes the first entry at an address that is not before this time; tells its time.
    #[cold]
    fn take_from(&mut self, address: u64, time: u64, is_it: impl Fn(&T) -> bool) -> Option<u64> {
        // What is old comes first in time, mostly.
        for entries in [&mut self.old, &mut self.young] {
            let mut behind = entries.range((address, time)..=(address, u64::MAX));
            if let Some((&key, _)) = behind.find(|(_, entry)| is_it(entry)) {
                entries.remove(&key);
                return Some(key.1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_before_a_free_that_came_first_is_its() {
        let mut late = Late::default();
        late.free_of_nothing(64, 100, 1);
        assert_eq!(late.freed_at(64, 101, 2), None, "it is later");
        assert_eq!(late.freed_at(72, 90, 2), None, "it is elsewhere");
        assert_eq!(
            late.freed_at(64, 90, 1),
            None,
            "a thread's own events are in order"
        );
        assert_eq!(late.freed_at(64, 90, 2), Some(100));
        assert_eq!(late.freed_at(64, 90, 2), None, "a free is one object's");
    }

    #[test]
    fn a_free_of_what_was_displaced_is_spent() {
        let mut late = Late::default();
        late.displaced(64, 100);
        assert!(!late.is_spent(64, 101));
        assert!(late.is_spent(64, 100));
        assert!(!late.is_spent(64, 100));
    }

    #[test]
    fn memory_is_bounded() {
        let mut late = Late::default();
        for n in 0..3 * MOST_YOUNG as u64 {
            late.free_of_nothing(n, n, 1);
        }
        assert!(late.frees.young.len() + late.frees.old.len() <= 2 * MOST_YOUNG);
    }
}
