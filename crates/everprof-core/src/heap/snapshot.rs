//! The heap's buckets at an instant, as objects and bytes.
//!
//! Context: cold. Invariant: no bucket has more freed than allocated.

use super::{Parts, Tally, tally};
use crate::inuse::InUse;
use crate::snapshot::{self, Row};

/// All buckets of a heap at an instant.
#[derive(Debug)]
pub struct Snapshot<'a> {
    buckets: snapshot::Snapshot<'a>,
    /// The objects themselves, as they come and go: see `recorded_period_bytes`.
    pub(super) in_use: Option<InUse<'a>>,
    /// Mean bytes between samples at that time.
    pub period_bytes: u64,
}

/// One stack and size class.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// Addresses, leaf first: each the one that its call returns to. The first 63
    /// numbers are no addresses, see [`crate::lost`].
    pub stack: &'a [u64],
    /// Upper bound of the sizes of its objects.
    pub size_class_bytes: u64,
    /// The label set in force when they were allocated; 0: none.
    pub labels: u32,
    /// What was allocated.
    pub alloc: Tally,
    /// What of it was freed.
    pub freed: Tally,
}

impl Bucket<'_> {
    /// What is in use.
    #[must_use]
    pub fn in_use(&self) -> Tally {
        Tally {
            samples: self.alloc.samples - self.freed.samples,
            sampled_bytes: self.alloc.sampled_bytes - self.freed.sampled_bytes,
            objects: self.alloc.objects - self.freed.objects,
            bytes: self.alloc.bytes - self.freed.bytes,
        }
    }
}

impl<'a> Snapshot<'a> {
    pub(super) fn of(parts: Option<Parts<'a>>, period_bytes: u64) -> Self {
        let buckets = snapshot::of_ledger(parts.map(|parts| parts.ledger), tally::clamp);
        Self {
            buckets,
            in_use: parts.map(|parts| parts.in_use),
            period_bytes,
        }
    }

    /// What the buckets of another process's arena say, without asking anybody.
    pub(crate) fn of_recording(parts: Parts<'a>, period_bytes: u64) -> Self {
        Self {
            buckets: snapshot::of_recording(parts.ledger, tally::clamp),
            in_use: Some(parts.in_use),
            period_bytes,
        }
    }

    /// What is in use and was born at `born_by_nanos` or before.
    pub(super) fn of_objects(
        parts: Option<Parts<'a>>,
        period_bytes: u64,
        born_by_nanos: u64,
    ) -> Self {
        let ledger = parts.map(|parts| parts.ledger);
        let most = parts.map_or(0, |parts| {
            let (reserved, _) = parts.in_use.load();
            usize::try_from(reserved.saturating_mul(2)).unwrap_or(usize::MAX)
        });
        let mut buckets = snapshot::empty(ledger, most);
        if let Some(parts) = parts {
            parts.in_use.for_each(|_, object| {
                if object.born <= born_by_nanos && object.weight.objects_q8 != 0 {
                    buckets.push(Row {
                        bucket: object.bucket.raw(),
                        counters: tally::allocated(&object.weight),
                    });
                }
            });
        }
        buckets.merge();
        Self {
            buckets,
            in_use: parts.map(|parts| parts.in_use),
            period_bytes,
        }
    }

    /// The buckets that have counted anything.
    pub fn iter(&self) -> impl Iterator<Item = Bucket<'_>> {
        self.buckets.iter().map(|bucket| {
            let (alloc, freed) = tally::read(bucket.counters);
            Bucket {
                stack: bucket.key.stack,
                size_class_bytes: bucket.key.extra,
                labels: bucket.key.labels,
                alloc,
                freed,
            }
        })
    }

    /// Buckets copied, those that have counted nothing included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether there is not even an empty bucket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// When, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn taken_at_unix_nanos(&self) -> u64 {
        self.buckets.taken_at_unix_nanos
    }

    /// A recorder was waited for in vain: a sample may be counted in part. Or
    /// there was no memory for the copy: it is empty.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.buckets.torn
    }
}
