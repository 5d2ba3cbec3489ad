//! The threads at an instant, by who created them.
//!
//! Context: cold. Invariant: no bucket has more threads ended than created.

use super::{Others, Parts, tally};
use crate::snapshot;

/// All threads that were created, and those that nobody was seen to create.
#[derive(Debug)]
pub struct Snapshot<'a> {
    buckets: snapshot::Snapshot<'a>,
    /// Threads there are now that nobody was seen to create. Of a recording: none.
    pub others: Others,
}

/// One stack that created threads.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// Addresses, leaf first, as in a heap's bucket.
    pub stack: &'a [u64],
    /// The label set in force when it did; 0: none.
    pub labels: u32,
    /// Threads it created.
    pub created: u64,
    /// Those of them that have not ended.
    pub live: u64,
    /// CPU time of all of them, as far as it was seen: of those that live, up to this
    /// snapshot; of a recording, up to the last one its process took.
    pub cpu_nanos: u64,
    /// Those whose end was only found later: the last of their CPU time is missing.
    pub unseen_ends: u64,
}

impl<'a> Snapshot<'a> {
    pub(super) fn of(parts: Option<Parts<'a>>) -> Self {
        if let Some(parts) = parts {
            parts.pool.for_each(|known| parts.look_at(known));
        }
        Self {
            buckets: snapshot::of_ledger(parts.map(|parts| parts.ledger), tally::clamp),
            others: Others::now(parts.map(|parts| parts.pool)),
        }
    }

    /// What another process's arena says.
    pub(crate) fn of_recording(parts: Parts<'a>) -> Self {
        Self {
            buckets: snapshot::of_recording(parts.ledger, tally::clamp),
            others: Others::default(),
        }
    }

    /// The buckets that have counted anything.
    pub fn iter(&self) -> impl Iterator<Item = Bucket<'_>> {
        self.buckets.iter().map(|bucket| {
            let [created, ended, cpu_nanos, unseen_ends, ..] = *bucket.counters;
            Bucket {
                stack: bucket.key.stack,
                labels: bucket.key.labels,
                created,
                live: created - ended,
                cpu_nanos,
                unseen_ends,
            }
        })
    }

    /// When, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn taken_at_unix_nanos(&self) -> u64 {
        self.buckets.taken_at_unix_nanos
    }

    /// As of a heap's snapshot.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.buckets.torn
    }
}
