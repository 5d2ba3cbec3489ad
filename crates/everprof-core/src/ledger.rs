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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arena::Arena;
    use crate::sync::AtomicU64;

    fn arena() -> Arena {
        Arena::anonymous(1 << 20).unwrap()
    }

    fn key(stack: &[u64]) -> Key<'_> {
        Key {
            stack,
            extra: 8,
            labels: 0,
        }
    }

    /// What both sides of a bucket have counted in the first cell.
    fn counted(ledger: &Ledger<'_>, bucket: Offset) -> u64 {
        let bucket = ledger.table.bucket(bucket).unwrap();
        let sides = [0, 1].map(|side| bucket.cells(side).unwrap().read_one(0));
        sides.iter().sum()
    }

    #[test]
    fn ledgers_of_one_arena_count_apart() {
        let arena = arena();
        for name in Name::ALL {
            assert!(Ledger::open(arena.region(), name).is_none());
            Ledger::create(arena.region(), name).unwrap();
        }
        for (times, name) in (1..).zip(Name::ALL) {
            let ledger = Ledger::open(arena.region(), name).unwrap();
            let bucket = ledger.bucket(&key(&[100, 200])).unwrap();
            for _ in 0..times {
                ledger.count(bucket, |cells| cells.add(0, &[1]));
            }
        }
        for (times, name) in (1..).zip(Name::ALL) {
            let ledger = Ledger::open(arena.region(), name).unwrap();
            let bucket = ledger.bucket(&key(&[100, 200])).unwrap();
            assert_eq!(counted(&ledger, bucket), times, "{name:?}");
        }
    }

    #[test]
    fn ledger_that_is_not_open_is_counted_in_and_one_that_is_not_there_is_not() {
        let arena = arena();
        let ledger = Ledger::create(arena.region(), Name::HEAP).unwrap();
        let bucket = ledger.bucket(&key(&[100])).unwrap();
        let add = |cells: &Cells| cells.add(0, &[5]);
        Ledger::count_of(arena.region(), Name::HEAP, bucket, add);
        Ledger::count_of(arena.region(), Name::BLOCK, bucket, add);
        assert_eq!(counted(&ledger, bucket), 5);
    }

    #[test]
    fn what_has_no_stack_or_no_room_is_counted_as_lost() {
        let arena = arena();
        let ledger = Ledger::create(arena.region(), Name::CUSTOM).unwrap();
        ledger.count_lost(Lost::NoStack, |cells| cells.add(0, &[3]));
        let lost = ledger.table.lost(Lost::NoStack).unwrap();
        assert_eq!(counted(&ledger, lost), 3);
        while arena.region().alloc_array::<AtomicU64>(8).is_some() {}
        let full = ledger.table.lost(Lost::TableFull).unwrap();
        assert_eq!(ledger.bucket(&key(&[1000; 16])), Some(full));
    }

    #[test]
    fn reset_ledger_has_counted_nothing_and_knows_its_stacks() {
        let arena = arena();
        let ledger = Ledger::create(arena.region(), Name::TASK).unwrap();
        let buckets: Vec<Offset> = (0..20)
            .map(|n| ledger.bucket(&key(&[1000 + n])).unwrap())
            .collect();
        for &bucket in &buckets {
            ledger.count(bucket, |cells| cells.add(0, &[1]));
        }
        // As a fork leaves it: one is in the midst of counting, and never leaves.
        std::mem::forget(ledger.epochs.enter());
        ledger.reset();
        assert!(buckets.iter().all(|&bucket| counted(&ledger, bucket) == 0));
        let again = (0..20).map(|n| ledger.bucket(&key(&[1000 + n])).unwrap());
        assert!(again.eq(buckets));
        let lock = ledger.epochs.lock();
        let side = ledger.epochs.flip(&lock);
        assert!(ledger.epochs.settled(side, &lock));
    }
}
