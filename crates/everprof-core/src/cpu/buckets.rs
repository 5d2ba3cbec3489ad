//! Buckets: how often each stack was running. The one file here that knows the table.
//!
//! Context: signal; `create` and `for_each` are cold.
//! Invariant: only one side of a bucket's counters is used. A CPU profile is read when
//! nobody writes it any more, so there is nothing to flip.

use crate::arena::{Offset, Region, Root};
use crate::lost::Lost;
use crate::table::{Key, Table};

/// The table of one session's arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets<'a> {
    table: Table<'a>,
}

impl<'a> Buckets<'a> {
    pub(super) fn create(region: Region<'a>) -> Option<Self> {
        let table = Table::create(region, Root::CpuTable)?;
        Some(Self { table })
    }

    pub(super) fn open(region: Region<'a>) -> Option<Self> {
        let table = Table::open(region, Root::CpuTable)?;
        Some(Self { table })
    }

    /// Counts `weight` expiries for a stack under a label set; where there is no room,
    /// as lost.
    pub(super) fn add(&self, stack: &[u64], labels: u32, weight: u64) {
        let key = Key {
            stack,
            extra: 0,
            labels,
        };
        match self.table.find_or_insert(&key) {
            Some(at) => self.count(at, weight),
            None => self.add_lost(Lost::TableFull, weight),
        }
    }

    /// Counts `weight` expiries that have no stack, because of `reason`.
    pub(super) fn add_lost(&self, reason: Lost, weight: u64) {
        if let Some(at) = self.table.lost(reason) {
            self.count(at, weight);
        }
    }

    /// Calls `visit` with each stack that was seen, its label set and how many expiries
    /// it has.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&'a [u64], u32, u64)) {
        for head in self.table.heads() {
            for (at, bucket) in self.table.chain(head, 0) {
                let weight = bucket.cells(SIDE).map_or(0, |cells| cells.read_one(WEIGHT));
                if let Some(stack) = self.table.stack(at)
                    && weight != 0
                {
                    visit(stack, bucket.labels(), weight);
                }
            }
        }
    }

    fn count(&self, at: Offset, weight: u64) {
        if let Some(cells) = self.table.bucket(at).and_then(|bucket| bucket.cells(SIDE)) {
            cells.add(WEIGHT, &[weight]);
        }
    }
}

/// The counter of expiries.
const WEIGHT: usize = 0;
const SIDE: usize = 0;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arena::Arena;

    #[test]
    fn weights_of_a_stack_add_up_label_set_by_label_set() {
        let arena = Arena::anonymous(64 << 10).unwrap();
        let buckets = Buckets::create(arena.region()).unwrap();
        buckets.add(&[100, 200], 0, 1);
        Buckets::open(arena.region())
            .unwrap()
            .add(&[100, 200], 0, 4);
        buckets.add(&[100], 0, 2);
        buckets.add(&[100], 9, 3);
        let mut found = Vec::new();
        buckets.for_each(|stack, labels, weight| found.push((stack.to_vec(), labels, weight)));
        found.sort();
        assert_eq!(
            found,
            [(vec![100], 0, 2), (vec![100], 9, 3), (vec![100, 200], 0, 5)]
        );
    }

    #[test]
    fn what_has_no_room_is_counted_as_lost() {
        let arena = Arena::anonymous(64 << 10).unwrap();
        let buckets = Buckets::create(arena.region()).unwrap();
        // Under Miri chains are long: fewer stacks, that take more room.
        const DEPTH: usize = if cfg!(miri) { 120 } else { 16 };
        let count = if cfg!(miri) { 200 } else { 10_000 };
        for n in 0..count {
            buckets.add(&[1000 + n; DEPTH], 0, 1);
        }
        let (mut sum, mut lost) = (0, 0);
        buckets.for_each(|stack, _, weight| {
            sum += weight;
            lost += if stack == [Lost::TableFull.pc()] {
                weight
            } else {
                0
            };
        });
        assert!(lost > count / 20);
        assert_eq!(sum, count);
    }
}
