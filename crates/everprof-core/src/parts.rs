//! Parts: the structures that a recorder keeps in its arena, together.
//!
//! Context: sampled. Invariant: they are whole before the last of their roots is
//! named in the header, so that whoever finds all of them may use them.
//!
//! The recorder writes them, a snapshot copies them, a recording reads those of
//! another process.

use crate::arena::{Offset, Region, Root};
use crate::epoch::Epochs;
use crate::inuse::InUse;
use crate::lost::Lost;
use crate::sampler::Weight;
use crate::table::{Cells, Table};

/// The structures, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) region: Region<'a>,
    pub(crate) table: Table<'a>,
    pub(crate) in_use: InUse<'a>,
    pub(crate) epochs: &'a Epochs,
}

impl<'a> Parts<'a> {
    pub(crate) fn create(region: Region<'a>) -> Option<Self> {
        let table = Table::create(region)?;
        let in_use = InUse::create(region)?;
        let at = region.alloc::<Epochs>(0)?;
        region.set_root(Root::HeapEpochs, at)?;
        Some(Self {
            region,
            table,
            in_use,
            epochs: region.get(at)?,
        })
    }

    pub(crate) fn open(region: Region<'a>) -> Option<Self> {
        let epochs = region.get(region.root(Root::HeapEpochs)?)?;
        Some(Self {
            region,
            table: Table::open(region)?,
            in_use: InUse::open(region)?,
            epochs,
        })
    }

    /// Counts in the current epoch's cells of a bucket.
    pub(crate) fn count(&self, bucket: Offset, count: impl FnOnce(&Cells)) {
        let entered = self.epochs.enter();
        if let Some(cells) = self
            .table
            .bucket(bucket)
            .and_then(|bucket| bucket.cells(entered.side()))
        {
            count(cells);
        }
    }

    /// Counts what cannot be followed until it is freed as freed at once.
    pub(crate) fn count_lost(&self, reason: Lost, weight: &Weight) {
        if let Some(bucket) = self.table.lost(reason) {
            self.count(bucket, |cells| {
                cells.alloc.add(weight);
                cells.freed.add(weight);
            });
        }
    }
}
