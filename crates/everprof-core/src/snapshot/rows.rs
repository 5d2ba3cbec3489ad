//! Rows: what a snapshot holds of each bucket.
//!
//! Context: cold. Invariant: a row's bucket is one of the table's; sums are added
//! to, and cut in one place (`clamp`).

use super::pages::{Pages, Zeroed};
use crate::arena::Offset;
use crate::table::{Bucket as Record, COUNTERS};

// SAFETY: integers only.
unsafe impl Zeroed for Row {}

/// One bucket's sums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) bucket: u32,
    pub(crate) counters: [u64; COUNTERS],
}

impl Row {
    pub(super) fn empty(at: Offset) -> Self {
        Self {
            bucket: at.raw(),
            counters: [0; COUNTERS],
        }
    }

    pub(super) fn of(at: Offset, record: &Record, side: usize) -> Self {
        let mut row = Self::empty(at);
        row.add(record, side);
        row
    }

    /// Later counters of both sides are read before earlier ones of either: an
    /// object may have been allocated on one and freed on the other.
    pub(super) fn of_both_sides(at: Offset, record: &Record) -> Self {
        let mut row = Self::empty(at);
        for (index, sum) in row.counters.iter_mut().enumerate().rev() {
            for cells in (0..2).filter_map(|side| record.cells(side)) {
                *sum = sum.wrapping_add(cells.read_one(index));
            }
        }
        row
    }

    pub(super) fn add(&mut self, record: &Record, side: usize) {
        if let Some(cells) = record.cells(side) {
            self.add_sums(&cells.read());
        }
    }

    pub(super) fn add_sums(&mut self, counters: &[u64; COUNTERS]) {
        for (sum, more) in self.counters.iter_mut().zip(counters) {
            *sum = sum.wrapping_add(*more);
        }
    }
}

/// Rows in a mapping of their own.
pub(crate) struct Rows {
    pages: Pages<Row>,
    pub(crate) len: usize,
}

impl Rows {
    pub(crate) fn with_room(count: usize) -> Self {
        Self {
            pages: Pages::new(count),
            len: 0,
        }
    }

    /// Rows that there is memory for.
    pub(crate) fn room(&self) -> usize {
        self.pages.as_slice().len()
    }

    pub(crate) fn push(&mut self, row: Row) {
        // One that has no room is left out: there are more rows than buckets fit.
        if let Some(place) = self.pages.as_mut_slice().get_mut(self.len) {
            *place = row;
            self.len += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[Row] {
        self.pages.as_slice().get(..self.len).unwrap_or(&[])
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Row] {
        self.pages
            .as_mut_slice()
            .get_mut(..self.len)
            .unwrap_or(&mut [])
    }

    pub(crate) fn clamp(&mut self, clamp: super::Clamp) {
        for row in self.as_mut_slice() {
            clamp(&mut row.counters);
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
                rows[kept - 1].add_sums(&row.counters);
            } else {
                rows[kept] = row;
                kept += 1;
            }
        }
        self.len = kept;
    }
}

/// Heads of chains, or buckets.
pub(super) struct Words {
    pages: Pages<u32>,
    pub(super) len: usize,
}

impl Words {
    /// As many as there are.
    pub(super) fn copy(words: impl Iterator<Item = u32> + Clone) -> Self {
        Self::with_room(words.clone().count(), words)
    }

    /// As many as there are, and no more than `most`.
    pub(super) fn with_room(most: usize, words: impl Iterator<Item = u32>) -> Self {
        let mut copy = Self {
            pages: Pages::new(most),
            len: 0,
        };
        for (place, word) in copy.pages.as_mut_slice().iter_mut().zip(words) {
            *place = word;
            copy.len += 1;
        }
        copy
    }

    /// Whether there was memory for any.
    pub(super) fn has_room(&self) -> bool {
        !self.pages.as_slice().is_empty()
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        self.pages.as_slice().get(..self.len).unwrap_or(&[])
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u32] {
        self.pages
            .as_mut_slice()
            .get_mut(..self.len)
            .unwrap_or(&mut [])
    }
}
