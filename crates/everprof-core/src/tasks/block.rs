//! The times of tasks by the stacks that they waited in, at an instant.
//!
//! Context: cold. Invariant: as [`crate::snapshot`].

use super::tally::{self, Times};
use super::wanted::How;
use crate::arena::Region;
use crate::global;
use crate::ledger::{self, Ledger};
use crate::settings::Name;
use crate::snapshot::{self, Snapshot};

/// What tasks waited, and ran, by where they awaited.
#[derive(Debug)]
pub struct BlockSnapshot<'a> {
    buckets: Snapshot<'a>,
    /// From this on each time is recorded, as it was then.
    pub period_nanos: u64,
}

/// One stack that tasks waited in.
#[derive(Clone, Copy, Debug)]
pub struct BlockBucket<'a> {
    /// Return addresses, leaf first.
    pub stack: &'a [u64],
    /// Why it was captured; `None`: lost, or of a later version.
    pub how: Option<How>,
    /// The label set in force; 0: none.
    pub labels: u32,
    /// What it took.
    pub times: Times,
}

/// A consistent copy. Cold.
#[must_use]
pub fn block() -> BlockSnapshot<'static> {
    let store = global::store();
    let ledger = store
        .own_region()
        .and_then(|region| Ledger::open(region, ledger::Name::TASK));
    BlockSnapshot {
        buckets: snapshot::of_ledger(ledger, snapshot::as_it_is),
        period_nanos: store.settings().get(Name::TaskblockPeriod),
    }
}

impl<'a> BlockSnapshot<'a> {
    /// What the arena of another process says.
    pub(crate) fn of_recording(region: Region<'a>, period_nanos: u64) -> Option<Self> {
        let ledger = Ledger::open(region, ledger::Name::TASK)?;
        Some(Self {
            buckets: snapshot::of_recording(ledger, snapshot::as_it_is),
            period_nanos,
        })
    }

    /// The buckets that have counted anything.
    pub fn iter(&self) -> impl Iterator<Item = BlockBucket<'_>> {
        self.buckets.iter().map(|bucket| BlockBucket {
            stack: bucket.key.stack,
            how: How::of_number(bucket.key.extra),
            labels: bucket.key.labels,
            times: tally::read(bucket.counters),
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
