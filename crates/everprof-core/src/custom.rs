//! Custom profiles: what a program holds, such as connections, by who took it.
//!
//! Context: sampled; [`Recorder::snapshot`] is cold. Invariant: what a [`Held`] takes
//! off is what it added, in the bucket where it added it.
//!
//! All custom profiles share one ledger: a bucket's extra key says whose it is. Nothing
//! is sampled. What is held carries its bucket itself, so that there is no store to ask.
//!
//! | counters | of |
//! |---|---|
//! | 0, 1 | what was ever taken: how often, and the sum of its values |
//! | 4, 5 | what of it was given back, in the same order |
//!
//! In a fork's child nothing is held: what its parent held gives nothing back there.

use crate::arena::Offset;
use crate::labels;
use crate::ledger::{self, Ledger};
use crate::local;
use crate::scratch;
use crate::snapshot;
use crate::stack::{self, Registers};
use crate::store::{Generation, Store};
use crate::table::{COUNTERS, Key};

const TAKEN: usize = 0;
const GIVEN_BACK: usize = 4;

/// Records what is held in a store.
#[derive(Clone, Copy, Debug)]
pub struct Recorder<'s> {
    store: &'s Store,
}

/// Something that is held until it is told to [`Recorder::give_back`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Held {
    bucket: Offset,
    value: u64,
    /// The store's when it was taken.
    generation: Generation,
}

/// One stack of one profile at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// Return addresses, leaf first.
    pub stack: &'a [u64],
    /// The label set in force when it was taken; 0: none.
    pub labels: u32,
    /// What was ever taken, and the sum of its values.
    pub taken: (u64, u64),
    /// What is held, and the sum of its values.
    pub held: (u64, u64),
}

/// One profile's buckets at an instant.
#[derive(Debug)]
pub struct Snapshot<'a> {
    buckets: snapshot::Snapshot<'a>,
    profile: u64,
}

impl<'s> Recorder<'s> {
    /// The recorder that writes to `store`.
    #[must_use]
    pub const fn of(store: &'s Store) -> Self {
        Self { store }
    }

    /// Records that something of this profile is held from now on, by the stack that
    /// the registers stand in. `None`: there is no memory at all.
    pub fn take(self, profile: u64, value: u64, registers: &Registers) -> Option<Held> {
        local::with(|local| {
            let labels = labels::in_force(self.store, local);
            self.take_with(profile, value, labels, |out| {
                stack::capture(registers, &local.stack, out, &(0..0)).depth
            })
        })
    }

    /// As [`Recorder::take`], with any source of stacks.
    pub fn take_with(
        self,
        profile: u64,
        value: u64,
        labels: u32,
        capture: impl FnOnce(&mut [u64]) -> usize,
    ) -> Option<Held> {
        let region = self.store.region_or_make()?;
        let ledger = Ledger::open(region, ledger::Name::CUSTOM)?;
        let bucket = scratch::bucket_of(&ledger, profile, labels, capture)?;
        self.store.note_modules(region);
        let held = Held {
            bucket,
            value,
            generation: self.store.generation(),
        };
        ledger.count(bucket, |cells| cells.add(TAKEN, &[1, value]));
        Some(held)
    }

    /// Records that it is not held any more.
    pub fn give_back(self, held: Held) {
        let Some(region) = self.store.region_of(held.generation) else {
            return;
        };
        // What a fork's child inherited was counted by its parent.
        if self.store.generation() != held.generation {
            return;
        }
        if let Some(ledger) = Ledger::open(region, ledger::Name::CUSTOM) {
            ledger.count(held.bucket, |cells| {
                cells.add(GIVEN_BACK, &[1, held.value]);
            });
        }
    }

    /// A profile's buckets now. Cold.
    #[must_use]
    pub fn snapshot(self, profile: u64) -> Snapshot<'s> {
        let ledger = self
            .store
            .own_region()
            .and_then(|region| Ledger::open(region, ledger::Name::CUSTOM));
        Snapshot {
            buckets: snapshot::of_ledger(ledger, clamp),
            profile,
        }
    }
}

impl Snapshot<'_> {
    /// The profile's buckets. What found no memory for a stack of its own is in all
    /// profiles: the shared table does not know whose it was.
    pub fn iter(&self) -> impl Iterator<Item = Bucket<'_>> {
        let is_own = |key: &Key<'_>| key.extra == self.profile;
        self.buckets
            .iter()
            .filter(move |bucket| is_own(&bucket.key) || bucket.key.extra == 0)
            .map(|bucket| {
                let [count, value, _, _, back, value_back, ..] = *bucket.counters;
                Bucket {
                    stack: bucket.key.stack,
                    labels: bucket.key.labels,
                    taken: (count, value),
                    held: (count - back, value - value_back),
                }
            })
    }

    /// When, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn taken_at_unix_nanos(&self) -> u64 {
        self.buckets.taken_at_unix_nanos
    }

    /// See [`snapshot::Snapshot::torn`].
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.buckets.torn
    }
}

/// Cuts what was given back to what was taken, where one was counted in part.
fn clamp(counters: &mut [u64; COUNTERS]) {
    let (taken, given_back) = counters.split_at_mut(GIVEN_BACK);
    for (given_back, taken) in given_back.iter_mut().zip(taken) {
        *given_back = (*given_back).min(*taken);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn take(recorder: Recorder<'_>, profile: u64, value: u64, leaf: u64) -> Held {
        recorder
            .take_with(profile, value, 0, |out| {
                out[0] = leaf;
                1
            })
            .unwrap()
    }

    fn shown(recorder: Recorder<'_>, profile: u64) -> Vec<(u64, u64, u64, u64)> {
        let snapshot = recorder.snapshot(profile);
        let mut shown: Vec<_> = snapshot
            .iter()
            .map(|bucket| {
                (
                    bucket.stack[0],
                    bucket.taken.0,
                    bucket.held.0,
                    bucket.held.1,
                )
            })
            .collect();
        shown.sort_unstable();
        shown
    }

    #[test]
    fn what_is_held_is_counted_where_it_was_taken_and_by_profile() {
        let store = Box::new(Store::new());
        let recorder = Recorder::of(&store);
        let (one, two) = (take(recorder, 1, 10, 1000), take(recorder, 1, 5, 1000));
        let _other = take(recorder, 2, 7, 1000);
        let _elsewhere = take(recorder, 1, 1, 2000);
        assert_eq!(shown(recorder, 1), [(1000, 2, 2, 15), (2000, 1, 1, 1)]);
        recorder.give_back(one);
        assert_eq!(shown(recorder, 1), [(1000, 2, 1, 5), (2000, 1, 1, 1)]);
        recorder.give_back(two);
        assert_eq!(shown(recorder, 1), [(1000, 2, 0, 0), (2000, 1, 1, 1)]);
        assert_eq!(shown(recorder, 2), [(1000, 1, 1, 7)]);
        assert!(shown(recorder, 3).is_empty());
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn child_of_a_fork_holds_nothing_and_gives_nothing_back() {
        let store = Box::new(Store::new());
        let recorder = Recorder::of(&store);
        let held = take(recorder, 1, 10, 1000);
        assert!(crate::fork::holds_in_child(|| {
            recorder.give_back(held);
            let _own = take(recorder, 1, 3, 1000);
            let snapshot = recorder.snapshot(1);
            let sums = snapshot.iter().fold((0, 0), |sums, bucket| {
                (sums.0 + bucket.taken.0, sums.1 + bucket.held.1)
            });
            sums == (1, 3)
        }));
        assert_eq!(shown(recorder, 1), [(1000, 1, 1, 10)]);
    }
}
