//! Rows: what a snapshot holds of each bucket.
//!
//! Context: cold. Invariant: a row's bucket is one of the table's; sums are added
//! to, and cut in one place (`clamp`).

use super::pages::{Pages, Zeroed};
use crate::arena::Offset;
use crate::table::Bucket as Record;

// SAFETY: integers only.
unsafe impl Zeroed for Row {}

/// One bucket's sums.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) bucket: u32,
    pub(super) alloc: [u64; 4],
    pub(super) freed: [u64; 4],
}

impl Row {
    pub(super) fn empty(at: Offset) -> Self {
        Self {
            bucket: at.raw(),
            alloc: [0; 4],
            freed: [0; 4],
        }
    }

    pub(super) fn of(at: Offset, record: &Record, side: usize) -> Self {
        let mut row = Self::empty(at);
        row.add(record, side);
        row
    }

    /// Frees of both sides are read before allocations of either: an object may
    /// have been allocated on one and freed on the other.
    pub(super) fn of_both_sides(at: Offset, record: &Record) -> Self {
        let mut row = Self::empty(at);
        let sides = || (0..2).filter_map(|side| record.cells(side));
        for cells in sides() {
            row.add_sums(&[0; 4], &cells.read_freed());
        }
        for cells in sides() {
            row.add_sums(&cells.read_alloc(), &[0; 4]);
        }
        row
    }

    pub(super) fn add(&mut self, record: &Record, side: usize) {
        if let Some(cells) = record.cells(side) {
            let (alloc, freed) = cells.read();
            self.add_sums(&alloc, &freed);
        }
    }

    pub(super) fn add_sums(&mut self, alloc: &[u64; 4], freed: &[u64; 4]) {
        for (sum, more) in self.alloc.iter_mut().zip(alloc) {
            *sum = sum.wrapping_add(*more);
        }
        for (sum, more) in self.freed.iter_mut().zip(freed) {
            *sum = sum.wrapping_add(*more);
        }
    }
}

/// Rows in a mapping of their own.
pub(super) struct Rows {
    pages: Pages<Row>,
    pub(super) len: usize,
}

impl Rows {
    pub(super) fn with_room(count: usize) -> Self {
        Self {
            pages: Pages::new(count),
            len: 0,
        }
    }

    /// Rows that there is memory for.
    pub(super) fn room(&self) -> usize {
        self.pages.as_slice().len()
    }

    pub(super) fn push(&mut self, row: Row) {
        // One that has no room is left out: there are more rows than buckets fit.
        if let Some(place) = self.pages.as_mut_slice().get_mut(self.len) {
            *place = row;
            self.len += 1;
        }
    }

    pub(super) fn as_slice(&self) -> &[Row] {
        self.pages.as_slice().get(..self.len).unwrap_or(&[])
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Row] {
        self.pages
            .as_mut_slice()
            .get_mut(..self.len)
            .unwrap_or(&mut [])
    }

    /// Cuts what was freed to what was allocated, where a sample was counted in part.
    pub(super) fn clamp(&mut self) {
        for row in self.as_mut_slice() {
            for (freed, alloc) in row.freed.iter_mut().zip(row.alloc) {
                *freed = (*freed).min(alloc);
            }
        }
    }

    /// Makes one row of all rows of a bucket.
    pub(super) fn merge(&mut self) {
        self.as_mut_slice().sort_unstable_by_key(|row| row.bucket);
        let rows = self.as_mut_slice();
        let mut kept = 0;
        for index in 0..rows.len() {
            let row = rows[index];
            if kept > 0 && rows[kept - 1].bucket == row.bucket {
                rows[kept - 1].add_sums(&row.alloc, &row.freed);
            } else {
                rows[kept] = row;
                kept += 1;
            }
        }
        self.len = kept;
    }
}

/// The heads of all chains at an instant.
pub(super) struct Words {
    pages: Pages<u32>,
    pub(super) len: usize,
}

impl Words {
    pub(super) fn copy(words: impl Iterator<Item = u32> + Clone) -> Self {
        let mut copy = Self {
            pages: Pages::new(words.clone().count()),
            len: 0,
        };
        for (place, word) in copy.pages.as_mut_slice().iter_mut().zip(words) {
            *place = word;
            copy.len += 1;
        }
        copy
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        self.pages.as_slice().get(..self.len).unwrap_or(&[])
    }
}
