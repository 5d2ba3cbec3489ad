//! The waits' buckets at an instant: by who waited, and by who ended the waits.
//!
//! Context: cold. Invariant: as [`crate::snapshot`].

use super::slots::TIMED;
use super::tally::{self, Tally};
use super::{Operation, Recorder, parts};
use crate::arena::{Offset, Region};
use crate::settings::Name;
use crate::snapshot::{self, Snapshot};
use crate::table::Table;

/// Waits that ended, by the stack of who waited.
#[derive(Debug)]
pub struct BlockSnapshot<'a> {
    buckets: Snapshot<'a>,
    /// From this on each wait is recorded, at that time.
    pub period_nanos: u64,
}

/// One stack that waits.
#[derive(Clone, Copy, Debug)]
pub struct BlockBucket<'a> {
    /// Addresses, leaf first; see [`crate::heap::Bucket::stack`].
    pub stack: &'a [u64],
    /// What it waits in; `None`: of a later version, or lost.
    pub operation: Option<Operation>,
    /// Whether the clock may end it.
    pub timed: bool,
    /// The label set in force; 0: none.
    pub labels: u32,
    /// What it waited.
    pub waits: Tally,
}

/// What others waited, by the stack of who let them go.
#[derive(Debug)]
pub struct MutexSnapshot<'a> {
    buckets: Snapshot<'a>,
    sites: Option<Table<'a>>,
    /// From this charge on each wake is recorded, at that time.
    pub period_nanos: u64,
    /// One in so many was recorded, at that time; 0: the period decided.
    pub fraction: u64,
}

/// One stack that lets others go.
#[derive(Clone, Copy, Debug)]
pub struct MutexBucket<'a> {
    /// Addresses, leaf first; see [`crate::heap::Bucket::stack`].
    pub stack: &'a [u64],
    /// The innermost frames of one who waited, which tell what for; empty: not known.
    pub site: &'a [u64],
    /// What was waited in.
    pub operation: Option<Operation>,
    /// The label set in force when they were let go; 0: none.
    pub labels: u32,
    /// What they waited, by the address they waited for.
    pub waits: Tally,
    /// The same by the chain of wakes.
    pub chain: Tally,
}

impl<'s> Recorder<'s> {
    /// A consistent copy of all waits by who waited. Cold.
    #[must_use]
    pub fn block(self) -> BlockSnapshot<'s> {
        let ledger = self.store.own_region().and_then(parts::block);
        BlockSnapshot {
            buckets: snapshot::of_ledger(ledger, snapshot::as_it_is),
            period_nanos: self.store.settings().get(Name::BlockPeriod),
        }
    }

    /// A consistent copy of all waits by who ended them. Cold.
    #[must_use]
    pub fn mutex(self) -> MutexSnapshot<'s> {
        let region = self.store.own_region();
        if let Some(region) = region {
            Self::reap(region);
        }
        let settings = self.store.settings();
        MutexSnapshot {
            buckets: snapshot::of_ledger(region.and_then(parts::mutex), snapshot::as_it_is),
            sites: region.and_then(parts::sites),
            period_nanos: settings.get(Name::MutexPeriod),
            fraction: settings.get(Name::MutexFraction),
        }
    }
}

impl<'a> BlockSnapshot<'a> {
    /// What the arena of another process says.
    pub(crate) fn of_recording(region: Region<'a>, period_nanos: u64) -> Option<Self> {
        Some(Self {
            buckets: snapshot::of_recording(parts::block(region)?, snapshot::as_it_is),
            period_nanos,
        })
    }

    /// The buckets that have counted anything.
    pub fn iter(&self) -> impl Iterator<Item = BlockBucket<'_>> {
        self.buckets.iter().map(|bucket| BlockBucket {
            stack: bucket.key.stack,
            operation: Operation::of_number(bucket.key.extra & 0xff),
            timed: bucket.key.extra & u64::from(TIMED) != 0,
            labels: bucket.key.labels,
            waits: tally::read(bucket.counters).0,
        })
    }

    /// When, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn taken_at_unix_nanos(&self) -> u64 {
        self.buckets.taken_at_unix_nanos
    }

    /// A recorder was waited for in vain, or there was no memory for the copy.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.buckets.torn
    }
}

impl<'a> MutexSnapshot<'a> {
    /// What the arena of another process says.
    pub(crate) fn of_recording(
        region: Region<'a>,
        period_nanos: u64,
        fraction: u64,
    ) -> Option<Self> {
        Some(Self {
            buckets: snapshot::of_recording(parts::mutex(region)?, snapshot::as_it_is),
            sites: parts::sites(region),
            period_nanos,
            fraction,
        })
    }

    /// The buckets that have counted anything.
    pub fn iter(&self) -> impl Iterator<Item = MutexBucket<'_>> {
        self.buckets.iter().map(|bucket| {
            let site = self.site(bucket.key.extra);
            let (waits, chain) = tally::read(bucket.counters);
            MutexBucket {
                stack: bucket.key.stack,
                site: site.map_or(&[], |(stack, _)| stack),
                operation: site.and_then(|(_, operation)| operation),
                labels: bucket.key.labels,
                waits,
                chain,
            }
        })
    }

    /// When, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn taken_at_unix_nanos(&self) -> u64 {
        self.buckets.taken_at_unix_nanos
    }

    /// A recorder was waited for in vain, or there was no memory for the copy.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.buckets.torn
    }

    fn site(&self, number: u64) -> Option<(&[u64], Option<Operation>)> {
        let at = Offset::from_raw(u32::try_from(number).ok()?)?;
        let key = self.sites.as_ref()?.key(at)?;
        Some((key.stack, Operation::of_number(key.extra)))
    }
}
