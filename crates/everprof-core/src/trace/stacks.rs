//! Stacks of a trace: each once, with the number that the reader gave it.
//!
//! Context: sampled (`at`); `number` is cold. Invariant: as of [`crate::table`]: a bucket
//! is never moved, so that an event may name it, and the reader finds it there. Where an event
//! says that a bucket is, there is one: `number` writes to it, and checks no more than that it
//! lies in the arena. Events come whole and from [`Stacks::at`] because a chunk has one writer
//! (`buffers`). A number belongs to one trace; the next counts anew.

use super::words::StackAt;
use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::lost::Lost;
use crate::sync::{AtomicU64, Ordering};
use crate::table::{Bucket, Key, Table};

/// What a bucket keeps: the trace in the upper half, the stack's number there in the lower.
/// Written and read by the reader alone.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Numbered(AtomicU64);

impl NewRecord for Numbered {
    fn new_record() -> Self {
        Self(AtomicU64::new(0))
    }
}
records!(Numbered, Bucket<Numbered>);

/// The stacks, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stacks<'a> {
    table: Table<'a, Numbered>,
}

impl<'a> Stacks<'a> {
    /// Makes the table. `None`: no room.
    pub(crate) fn create(region: Region<'a>) -> Option<Self> {
        let table = Table::create_of(region, Root::TraceStacks)?;
        Some(Self { table })
    }

    /// Where the stack stands, or that of what is lost where there is no room.
    pub(crate) fn at(&self, stack: &[u64]) -> StackAt {
        let key = Key {
            stack,
            extra: 0,
            labels: 0,
        };
        let found = self
            .table
            .find_or_insert(&key)
            .or_else(|| self.table.lost(Lost::TableFull));
        StackAt(found.map_or(0, Offset::raw))
    }

    /// The number that the stack has in trace `trace`, if it has one; else it gets `next`.
    pub(crate) fn number(&self, at: StackAt, trace: u32, next: u32) -> Option<Known<'a>> {
        let at = Offset::from_raw(at.0)?;
        let number = &self.table.bucket(at)?.kept().0;
        // Relaxed, both: one reader at a time, who is told so by whoever starts a trace.
        let known = number.load(Ordering::Relaxed);
        if known >> 32 == u64::from(trace) {
            return Some(Known::Old(known as u32));
        }
        number.store(u64::from(trace) << 32 | u64::from(next), Ordering::Relaxed);
        Some(Known::New(self.table.stack(at)?))
    }
}

/// Whether a stack came up before in this trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// It did, with this number.
    Old(u32),
    /// It did not: its addresses, leaf first. It has the number that was offered.
    New(&'a [u64]),
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arena::Arena;

    #[test]
    fn stack_has_one_number_in_a_trace_and_another_in_the_next() {
        let arena = Arena::anonymous(1 << 20).unwrap();
        let stacks = Stacks::create(arena.region()).unwrap();
        let (one, other) = (stacks.at(&[100, 200]), stacks.at(&[100]));
        assert_eq!(stacks.at(&[100, 200]), one);
        assert_eq!(stacks.number(one, 1, 5), Some(Known::New(&[100, 200])));
        assert_eq!(stacks.number(other, 1, 6), Some(Known::New(&[100])));
        assert_eq!(stacks.number(one, 1, 7), Some(Known::Old(5)));
        assert_eq!(stacks.number(one, 2, 1), Some(Known::New(&[100, 200])));
        assert_eq!(stacks.number(StackAt(0), 2, 2), None);
    }

    #[test]
    fn stacks_without_room_are_one_stack_that_says_so() {
        let arena = Arena::anonymous(64 << 10).unwrap();
        let stacks = Stacks::create(arena.region()).unwrap();
        let mut last = StackAt(0);
        // Under Miri chains are long: fewer stacks, that take more room.
        const DEPTH: usize = if cfg!(miri) { 120 } else { 16 };
        let count = if cfg!(miri) { 200 } else { 10_000 };
        for number in 0..count {
            last = stacks.at(&[1000 + number; DEPTH]);
        }
        let lost = [Lost::TableFull.pc()];
        assert_eq!(stacks.number(last, 1, 1), Some(Known::New(&lost)));
    }
}
