//! What stands in a managed heap's arena.
//!
//! Context: sampled. Invariant: all of it is whole before the heap is handed out.

use super::stages::{Link, Row, Stages};
use super::types::Types;
use crate::arena::{Offset, Region, Root};
use crate::inuse::InUse;
use crate::lost::Lost;
use crate::table::{Key, Table};

/// The structures, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) table: Table<'a, Link>,
    pub(super) stages: Stages<'a>,
    pub(super) in_use: InUse<'a>,
    pub(super) types: Types<'a>,
}

impl<'a> Parts<'a> {
    pub(super) fn create(region: Region<'a>) -> Option<Self> {
        region.found(|region| {
            Table::<Link>::create_of(region, Root::HeapTable)?;
            Stages::create(region)?;
            Types::create(region)?;
            InUse::create(region).map(|_| ())
        })?;
        let parts = Self::open(region)?;
        // Now, as there may be no room when they are needed.
        parts.lost_row(Lost::TableFull)?;
        parts.lost_row(Lost::InUseFull)?;
        Some(parts)
    }

    pub(super) fn open(region: Region<'a>) -> Option<Self> {
        Some(Self {
            table: Table::open_of(region, Root::HeapTable)?,
            stages: Stages::open(region)?,
            in_use: InUse::open(region)?,
            types: Types::open(region)?,
        })
    }

    /// The row of `key`, or that of what is lost where there is no room.
    pub(super) fn row(&self, key: &Key<'_>) -> Option<Row> {
        self.table
            .find_or_insert(key)
            .and_then(|bucket| self.row_of(bucket))
            .or_else(|| self.lost_row(Lost::TableFull))
    }

    /// The row of what is lost because of `reason`.
    pub(super) fn lost_row(&self, reason: Lost) -> Option<Row> {
        self.row_of(self.table.lost(reason)?)
    }

    fn row_of(&self, bucket: Offset) -> Option<Row> {
        self.stages.row(bucket, self.table.bucket(bucket)?.kept())
    }
}
