//! Snapshot: a copy of the buckets as they were at one instant.
//!
//! Context: cold. Its memory is its own mapping, not the global allocator's.
//! Invariant: whatever was counted before the instant is in it, nothing that came
//! later; counters that mean nothing without others are cut to them by `clamp`.
//!
//! Every bucket counts in the cells of one of two sides (see [`crate::epoch`]). While
//! recorders write one side, the other rests:
//!
//! ```text
//! copy the resting side │ flip: that is the instant │ wait until nobody writes
//! the side that was current │ add it, and what buckets came before the flip
//! ```
//!
//! No recorder waits for any of this. The snapshot waits for as long as it takes to
//! count one sample, or for [`PATIENCE_NANOS`] if a thread was left in the middle
//! of that (by longjmp, or because it is being debugged).

use std::fmt;

use crate::arena::Offset;
use crate::clock;
use crate::ledger::Ledger;
use crate::sys;
use crate::table::{Bucket as Record, COUNTERS, Key, Table};
use rows::Words;
pub(crate) use rows::{Row, Rows};

mod pages;
mod rows;

/// How long the snapshot waits for a recorder that does not come to its end.
/// Counting takes well under a microsecond; a thread that is not scheduled in
/// between takes a few milliseconds on a busy machine.
const PATIENCE_NANOS: u64 = 10_000_000;

/// All buckets at an instant.
pub struct Snapshot<'a> {
    rows: Rows,
    table: Option<Table<'a>>,
    /// When, in nanoseconds since the Unix epoch.
    pub taken_at_unix_nanos: u64,
    /// A recorder was waited for in vain: a sample may be counted in part. Or
    /// there was no memory for the copy: it is empty.
    pub torn: bool,
}

/// One bucket and what it had counted.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// What tells it from others.
    pub key: Key<'a>,
    /// Its counters, both sides together.
    pub counters: &'a [u64; COUNTERS],
}

/// Cuts counters to those that they are a part of, where a sample was counted in part.
pub(crate) type Clamp = fn(&mut [u64; COUNTERS]);

/// For counters of which none is a part of another.
pub(crate) fn as_it_is(_counters: &mut [u64; COUNTERS]) {}

impl Snapshot<'_> {
    /// The buckets that have counted anything.
    pub fn iter(&self) -> impl Iterator<Item = Bucket<'_>> {
        self.rows.as_slice().iter().filter_map(|row| {
            if row.counters == [0; COUNTERS] {
                return None;
            }
            Some(Bucket {
                key: self.table.as_ref()?.key(Offset::from_raw(row.bucket)?)?,
                counters: &row.counters,
            })
        })
    }

    /// Buckets copied, those that have counted nothing included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len
    }

    /// Whether there is not even an empty bucket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len == 0
    }

    /// Adds a row, perhaps of a bucket that has one: `merge` joins them.
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Makes one row of all rows of a bucket.
    pub(crate) fn merge(&mut self) {
        self.rows.merge();
    }
}

impl fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("buckets", &self.rows.len)
            .finish_non_exhaustive()
    }
}

/// A copy of this process's own buckets.
pub(crate) fn of_ledger(ledger: Option<Ledger<'_>>, clamp: Clamp) -> Snapshot<'_> {
    let mut snapshot = empty(ledger, 0);
    let Some(Ledger { table, epochs }) = ledger else {
        return snapshot;
    };
    clock::look();
    // The lock comes first: were heads copied before another snapshot's flip,
    // buckets linked in between would have counted on both sides.
    let lock = epochs.lock();
    let heads = Words::copy(table.heads());
    let resting = epochs.resting_side(&lock);
    // Somebody is still where an earlier snapshot waited in vain.
    let stuck = !epochs.settled(resting, &lock);
    snapshot.torn |= stuck;
    let buckets = in_order(&table, &heads);
    snapshot.torn |= !(heads.has_room() && buckets.has_room());
    for at in buckets.as_slice() {
        if let Some((at, record)) = found(&table, *at) {
            snapshot.rows.push(Row::of(at, record, resting));
        }
    }
    let copied = snapshot.rows.len;
    if stuck && !epochs.settled(resting, &lock) {
        epochs.forgive(resting, &lock);
    }

    let flipped = epochs.flip(&lock);
    snapshot.taken_at_unix_nanos = sys::unix_nanos();
    let deadline = sys::monotonic_nanos().saturating_add(PATIENCE_NANOS);
    while !epochs.settled(flipped, &lock) {
        if sys::monotonic_nanos() > deadline {
            snapshot.torn = true;
            break;
        }
        sys::pause_briefly();
    }
    for row in snapshot.rows.as_mut_slice().iter_mut().take(copied) {
        if let Some((_, record)) = found(&table, row.bucket) {
            row.add(record, flipped);
        }
    }
    // Buckets that were linked since the first look stand before it in their chain.
    for (now, &then) in table.heads().zip(heads.as_slice()) {
        if now == then {
            continue;
        }
        for (at, record) in table.chain(now, then) {
            snapshot.rows.push(Row::of(at, record, flipped));
        }
    }
    snapshot.rows.clamp(clamp);
    snapshot
}

/// The buckets of all chains by their addresses: the order in which they were made.
///
/// Chains lead from one page to any other, and each bucket is read three times more: one
/// side, after the flip the other, and then the stack. In this order the processor fetches
/// ahead; and stacks that were met one after the other stand beside one another in the
/// profile, where they compress better.
fn in_order(table: &Table<'_>, heads: &Words) -> Words {
    let chains = || heads.as_slice().iter().filter(|head| **head != 0);
    let buckets = chains().flat_map(|head| table.chain(*head, 0));
    let mut buckets = Words::with_room(table.most_buckets(), buckets.map(|(at, _)| at.raw()));
    buckets.as_mut_slice().sort_unstable();
    buckets
}

fn found<'a>(table: &Table<'a>, at: u32) -> Option<(Offset, &'a Record)> {
    let at = Offset::from_raw(at)?;
    Some((at, table.bucket(at)?))
}

/// What the buckets of another process's arena say, without asking anybody.
pub(crate) fn of_recording(ledger: Ledger<'_>, clamp: Clamp) -> Snapshot<'_> {
    let mut snapshot = empty(Some(ledger), 0);
    let table = ledger.table;
    // A damaged file may have loops: no more than could be there are read.
    let mut left = table.most_buckets();
    // `for_each`, not `for`: homes and heads are two iterators in a row, and a loop would ask at
    // each step which of them it is in. Nearly all are 0, so that this took a fifth of all that
    // `everprof run` does for a program that does nothing.
    table.heads().filter(|head| *head != 0).for_each(|head| {
        for (at, record) in table.chain(head, 0).take(left) {
            snapshot.rows.push(Row::of_both_sides(at, record));
            left -= 1;
        }
    });
    // The process may be running, or have died in the midst of counting.
    snapshot.rows.clamp(clamp);
    snapshot
}

/// No rows, and room for as many as there can be, and `more`; the pages come as they
/// are written.
pub(crate) fn empty(ledger: Option<Ledger<'_>>, more: usize) -> Snapshot<'_> {
    let table = ledger.map(|ledger| ledger.table);
    let most = table.map_or(0, |table| table.most_buckets().saturating_add(more));
    let rows = Rows::with_room(most);
    Snapshot {
        torn: rows.room() < most,
        rows,
        table,
        taken_at_unix_nanos: sys::unix_nanos(),
    }
}
