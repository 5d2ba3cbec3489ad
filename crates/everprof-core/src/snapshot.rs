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
use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;

use crate::arena::Offset;
use crate::parts::Parts;
use crate::sys;
use crate::table::{Bucket as Record, Table};

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
        torn: rows.pages.count < most,
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

/// One bucket's sums.
#[derive(Clone, Copy)]
struct Row {
    bucket: u32,
    alloc: [u64; 4],
    freed: [u64; 4],
}

impl Row {
    fn empty(at: Offset) -> Self {
        Self {
            bucket: at.raw(),
            alloc: [0; 4],
            freed: [0; 4],
        }
    }

    fn of(at: Offset, record: &Record, side: usize) -> Self {
        let mut row = Self::empty(at);
        row.add(record, side);
        row
    }

    /// Frees of both sides are read before allocations of either: an object may
    /// have been allocated on one and freed on the other.
    fn of_both_sides(at: Offset, record: &Record) -> Self {
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

    fn add(&mut self, record: &Record, side: usize) {
        if let Some(cells) = record.cells(side) {
            let (alloc, freed) = cells.read();
            self.add_sums(&alloc, &freed);
        }
    }

    fn add_sums(&mut self, alloc: &[u64; 4], freed: &[u64; 4]) {
        for (sum, more) in self.alloc.iter_mut().zip(alloc) {
            *sum = sum.wrapping_add(*more);
        }
        for (sum, more) in self.freed.iter_mut().zip(freed) {
            *sum = sum.wrapping_add(*more);
        }
    }
}

/// Rows in a mapping of their own.
struct Rows {
    pages: Pages<Row>,
    len: usize,
}

impl Rows {
    fn with_room(count: usize) -> Self {
        Self {
            pages: Pages::new(count),
            len: 0,
        }
    }

    fn push(&mut self, row: Row) {
        // One that has no room is left out: there are more rows than buckets fit.
        if let Some(place) = self.pages.as_mut_slice().get_mut(self.len) {
            *place = row;
            self.len += 1;
        }
    }

    fn as_slice(&self) -> &[Row] {
        self.pages.as_slice().get(..self.len).unwrap_or(&[])
    }

    fn as_mut_slice(&mut self) -> &mut [Row] {
        self.pages
            .as_mut_slice()
            .get_mut(..self.len)
            .unwrap_or(&mut [])
    }

    /// Cuts what was freed to what was allocated, where a sample was counted in part.
    fn clamp(&mut self) {
        for row in self.as_mut_slice() {
            for (freed, alloc) in row.freed.iter_mut().zip(row.alloc) {
                *freed = (*freed).min(alloc);
            }
        }
    }

    /// Makes one row of all rows of a bucket.
    fn merge(&mut self) {
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
struct Words {
    pages: Pages<u32>,
    len: usize,
}

impl Words {
    fn copy(words: impl Iterator<Item = u32> + Clone) -> Self {
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

    fn as_slice(&self) -> &[u32] {
        self.pages.as_slice().get(..self.len).unwrap_or(&[])
    }
}

/// Zeroed memory straight from the system, as an array.
struct Pages<T> {
    base: Option<NonNull<u8>>,
    bytes: usize,
    count: usize,
    of: PhantomData<T>,
}

// SAFETY: owned memory that holds plain integers.
unsafe impl<T: Send> Send for Pages<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Pages<T> {}

/// Arrays that zeroed memory is a valid state of.
///
/// # Safety
/// All bits zero is a valid value, the alignment is at most 64, no `Drop`.
unsafe trait Zeroed: Copy {}
// SAFETY: an integer.
unsafe impl Zeroed for u32 {}
// SAFETY: integers only.
unsafe impl Zeroed for Row {}

impl<T> Pages<T> {
    fn new(count: usize) -> Self {
        let bytes = count.saturating_mul(mem::size_of::<T>());
        let base = if bytes == 0 {
            None
        } else {
            sys::map_private(bytes)
        };
        let count = if base.is_some() { count } else { 0 };
        Self {
            base,
            bytes,
            count,
            of: PhantomData,
        }
    }
}

impl<T: Zeroed> Pages<T> {
    fn as_slice(&self) -> &[T] {
        // SAFETY: `count` values fit into the mapping, zeroed or written since.
        self.base.map_or(&[], |base| unsafe {
            std::slice::from_raw_parts(base.as_ptr().cast(), self.count)
        })
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        match self.base {
            // SAFETY: as above; `self` owns the mapping.
            Some(base) => unsafe {
                std::slice::from_raw_parts_mut(base.as_ptr().cast(), self.count)
            },
            None => &mut [],
        }
    }
}

impl<T> Drop for Pages<T> {
    fn drop(&mut self) {
        if let Some(base) = self.base {
            // SAFETY: the whole mapping made in `new`; slices borrow from `self`.
            unsafe { sys::unmap(base, self.bytes) };
        }
    }
}
