//! Snapshot: a copy of the buckets as they were at one instant.
//!
//! Context: cold. Its memory is its own mapping, not the global allocator's.
//! Invariant: no bucket of it has more freed than allocated.
//!
//! Every bucket counts in the cells of one of two sides (see [`crate::epoch`]). While
//! recorders write one side, the other rests:
//!
//! ```text
//! copy the resting side │ flip: that is the instant │ wait until nobody writes
//! the side that was current │ add it, and what buckets came before the flip
//! ```
//!
//! No recorder waits for any of this; only the snapshot waits, for as long as
//! one sample takes to be counted, or [`PATIENCE_NANOS`] if its thread was left
//! in the middle (by longjmp, or because it is being debugged).

use std::fmt;

use crate::arena::Offset;
use crate::parts::Parts;
use crate::sys;
use crate::table::Table;
use rows::{Row, Rows, Words};

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
    /// Mean bytes between samples at that time.
    pub period_bytes: u64,
    /// A recorder was waited for in vain: a sample may be counted in part. Or
    /// there was no memory for the copy: it is empty.
    pub torn: bool,
}

/// One stack and size class.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// Addresses, leaf first: each the one that its call returns to. The first 63
    /// numbers are no addresses, see [`crate::lost`].
    pub stack: &'a [u64],
    /// Upper bound of the sizes of its objects.
    pub size_class_bytes: u64,
    /// What was allocated.
    pub alloc: Tally,
    /// What of it was freed.
    pub freed: Tally,
}

/// Sums over samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Samples.
    pub samples: u64,
    /// Bytes of the sampled objects themselves.
    pub sampled_bytes: u64,
    /// Objects that they stand for.
    pub objects: f64,
    /// Bytes that they stand for.
    pub bytes: u64,
}

impl Bucket<'_> {
    /// What is in use.
    #[must_use]
    pub fn in_use(&self) -> Tally {
        Tally {
            samples: self.alloc.samples - self.freed.samples,
            sampled_bytes: self.alloc.sampled_bytes - self.freed.sampled_bytes,
            objects: self.alloc.objects - self.freed.objects,
            bytes: self.alloc.bytes - self.freed.bytes,
        }
    }
}

impl Snapshot<'_> {
    /// The buckets that have counted anything.
    pub fn iter(&self) -> impl Iterator<Item = Bucket<'_>> {
        self.rows.as_slice().iter().filter_map(|row| {
            let table = self.table.as_ref()?;
            let at = Offset::from_raw(row.bucket)?;
            if row.alloc == [0; 4] {
                return None;
            }
            Some(Bucket {
                stack: table.stack(at)?,
                size_class_bytes: table.bucket(at)?.extra(),
                alloc: tally(row.alloc),
                freed: tally(row.freed),
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
}

impl fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("buckets", &self.rows.len)
            .finish_non_exhaustive()
    }
}

/// A copy of this process's own buckets.
pub(crate) fn of_recorder(parts: Option<Parts<'_>>, period_bytes: u64) -> Snapshot<'_> {
    let mut snapshot = empty(parts, period_bytes);
    let Some(parts) = parts else { return snapshot };
    // The lock comes first: were heads copied before another snapshot's flip,
    // buckets linked in between would have counted on both sides.
    let lock = parts.epochs.lock();
    let heads = Words::copy(parts.table.heads());
    let resting = parts.epochs.resting_side(&lock);
    // Somebody is still where an earlier snapshot waited in vain.
    let stuck = !parts.epochs.settled(resting, &lock);
    snapshot.torn |= stuck;
    for &head in heads.as_slice() {
        for (at, record) in parts.table.chain(head, 0) {
            snapshot.rows.push(Row::of(at, record, resting));
        }
    }
    let copied = snapshot.rows.len;
    if stuck && !parts.epochs.settled(resting, &lock) {
        parts.epochs.forgive(resting, &lock);
    }

    let flipped = parts.epochs.flip(&lock);
    snapshot.taken_at_unix_nanos = sys::unix_nanos();
    let deadline = sys::monotonic_nanos().saturating_add(PATIENCE_NANOS);
    while !parts.epochs.settled(flipped, &lock) {
        if sys::monotonic_nanos() > deadline {
            snapshot.torn = true;
            break;
        }
        sys::pause_briefly();
    }
    for row in snapshot.rows.as_mut_slice().iter_mut().take(copied) {
        if let Some(record) = Offset::from_raw(row.bucket).and_then(|at| parts.table.bucket(at)) {
            row.add(record, flipped);
        }
    }
    // Buckets that were linked since the first look stand before it in their chain.
    for (now, &then) in parts.table.heads().zip(heads.as_slice()) {
        for (at, record) in parts.table.chain(now, then) {
            snapshot.rows.push(Row::of(at, record, flipped));
        }
    }
    snapshot.rows.clamp();
    snapshot
}

/// What the buckets of another process's arena say, without asking anybody.
pub(crate) fn of_recording(parts: Parts<'_>) -> Snapshot<'_> {
    // Relaxed: a figure.
    let period = parts
        .region
        .header()
        .heap_period_bytes
        .load(crate::sync::Ordering::Relaxed);
    let mut snapshot = empty(Some(parts), period);
    let records = parts
        .table
        .heads()
        .flat_map(|head| parts.table.chain(head, 0));
    // A damaged file may have loops: no more than could be there are read.
    for (at, record) in records.take(parts.table.most_buckets()) {
        snapshot.rows.push(Row::of_both_sides(at, record));
    }
    // The process may be running, or have died in the midst of counting.
    snapshot.rows.clamp();
    snapshot
}

/// What is in use and was born at `born_by_nanos` or before.
pub(crate) fn of_objects(
    parts: Option<Parts<'_>>,
    period_bytes: u64,
    born_by_nanos: u64,
) -> Snapshot<'_> {
    let mut snapshot = empty(parts, period_bytes);
    let Some(parts) = parts else { return snapshot };
    parts.in_use.for_each(|_, object| {
        if object.born_nanos <= born_by_nanos && object.weight.objects_q8 != 0 {
            let weight = object.weight;
            snapshot.rows.push(Row {
                bucket: object.bucket.raw(),
                alloc: [1, weight.size_bytes, weight.objects_q8, weight.bytes],
                freed: [0; 4],
            });
        }
    });
    snapshot.rows.merge();
    snapshot
}

fn empty(parts: Option<Parts<'_>>, period_bytes: u64) -> Snapshot<'_> {
    // As many rows as there can be; the pages come as they are written.
    let most = parts.map_or(0, |parts| {
        let (reserved, _) = parts.in_use.load();
        let reserved = usize::try_from(reserved).unwrap_or(usize::MAX);
        parts
            .table
            .most_buckets()
            .saturating_add(reserved.saturating_mul(2))
    });
    let rows = Rows::with_room(most);
    Snapshot {
        torn: rows.room() < most,
        rows,
        table: parts.map(|parts| parts.table),
        taken_at_unix_nanos: sys::unix_nanos(),
        period_bytes,
    }
}

fn tally([samples, sampled_bytes, objects_q8, bytes]: [u64; 4]) -> Tally {
    Tally {
        samples,
        sampled_bytes,
        objects: objects_q8 as f64 / 256.0,
        bytes,
    }
}
