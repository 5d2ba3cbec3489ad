//! Ledger: one profile's bucket table and the epochs of its cells.
//!
//! Context: sampled. Invariant: a counter is added to only between `enter` and
//! `leave` of the ledger's own epochs, so that its snapshot is an instant.

use crate::arena::{Offset, Region, Root};
use crate::epoch::Epochs;
use crate::lost::Lost;
use crate::table::{Bucket, Cells, Key, Table};

/// By which names a ledger is found in its arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    table: Root,
    epochs: Root,
}

impl Name {
    pub(crate) const HEAP: Self = Self {
        table: Root::HeapTable,
        epochs: Root::HeapEpochs,
    };
    pub(crate) const BLOCK: Self = Self {
        table: Root::BlockTable,
        epochs: Root::BlockEpochs,
    };
    pub(crate) const MUTEX: Self = Self {
        table: Root::MutexTable,
        epochs: Root::MutexEpochs,
    };
    pub(crate) const SPAWN: Self = Self {
        table: Root::SpawnTable,
        epochs: Root::SpawnEpochs,
    };
    pub(crate) const CUSTOM: Self = Self {
        table: Root::CustomTable,
        epochs: Root::CustomEpochs,
    };
    pub(crate) const TASK: Self = Self {
        table: Root::TaskTable,
        epochs: Root::TaskEpochs,
    };
    /// All there are.
    pub(crate) const ALL: [Self; 6] = [
        Self::HEAP,
        Self::BLOCK,
        Self::MUTEX,
        Self::SPAWN,
        Self::CUSTOM,
        Self::TASK,
    ];
}

/// A ledger, borrowed from its arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ledger<'a> {
    pub(crate) table: Table<'a>,
    pub(crate) epochs: &'a Epochs,
}

impl<'a> Ledger<'a> {
    /// Makes it. `None`: no room.
    pub(crate) fn create(region: Region<'a>, name: Name) -> Option<Self> {
        let at = region.alloc::<Epochs>(0)?;
        region.set_root(name.epochs, at)?;
        Some(Self {
            // Last: whoever finds the table finds the epochs.
            table: Table::create(region, name.table)?,
            epochs: region.get(at)?,
        })
    }

    /// The one that `create` made in this arena, perhaps in another process.
    pub(crate) fn open(region: Region<'a>, name: Name) -> Option<Self> {
        Some(Self {
            table: Table::open(region, name.table)?,
            epochs: region.get(region.root(name.epochs)?)?,
        })
    }

    /// The bucket of `key`, or that of what is lost where there is no room.
    pub(crate) fn bucket(&self, key: &Key<'_>) -> Option<Offset> {
        self.table
            .find_or_insert(key)
            .or_else(|| self.table.lost(Lost::TableFull))
    }

    /// Counts in the current epoch's cells of a bucket.
    pub(crate) fn count(&self, bucket: Offset, count: impl FnOnce(&Cells)) {
        count_in(self.table.region(), self.epochs, bucket, count);
    }

    /// As [`Ledger::count`], where the ledger is not open: its table is not looked at.
    pub(crate) fn count_of(
        region: Region<'a>,
        name: Name,
        bucket: Offset,
        count: impl FnOnce(&Cells),
    ) {
        if let Some(epochs) = region.root(name.epochs).and_then(|at| region.get(at)) {
            count_in(region, epochs, bucket, count);
        }
    }

    /// Counts what cannot be charged to any stack, because of `reason`.
    pub(crate) fn count_lost(&self, reason: Lost, count: impl FnOnce(&Cells)) {
        if let Some(bucket) = self.table.lost(reason) {
            self.count(bucket, count);
        }
    }

    /// Nothing counted: in a fork's child, where only one thread is.
    pub(crate) fn reset(&self) {
        self.table.clear_counters();
        self.epochs.reset();
    }
}

#[inline]
fn count_in(region: Region<'_>, epochs: &Epochs, bucket: Offset, count: impl FnOnce(&Cells)) {
    let entered = epochs.enter();
    if let Some(cells) = region
        .get::<Bucket>(bucket)
        .and_then(|bucket| bucket.cells(entered.side()))
    {
        count(cells);
    }
}
