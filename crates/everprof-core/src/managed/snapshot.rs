//! A managed heap's buckets as they were last published.
//!
//! Context: cold. Its memory is its own mapping, not the global allocator's.
//! Invariant: no bucket has more freed than allocated.

use std::fmt;

use super::extra;
use super::parts::Parts;
use crate::arena::Offset;
use crate::heap::{self, tally};
use crate::snapshot::{Row, Rows};
use crate::sys;

/// All buckets of a managed heap.
pub struct Snapshot<'a> {
    rows: Rows,
    parts: Option<Parts<'a>>,
    /// Mean bytes between samples at that time.
    pub period_bytes: u64,
    /// When it was copied, in nanoseconds since the Unix epoch.
    pub taken_at_unix_nanos: u64,
    /// It is the heap at a mark termination; else no cycle was completed yet, and it is
    /// all that was recorded.
    pub completed: bool,
    /// There was no memory for the copy: it is empty.
    pub torn: bool,
}

/// One stack, type and size class.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// As of any heap.
    pub bucket: heap::Bucket<'a>,
    /// The name of the objects' type.
    pub type_name: Option<&'a str>,
}

impl<'a> Snapshot<'a> {
    /// Under the clock's lock.
    pub(super) fn of(parts: Option<Parts<'a>>, completed: bool, period_bytes: u64) -> Self {
        let most = parts.map_or(0, |parts| parts.table.most_buckets());
        let mut rows = Rows::with_room(most);
        if let Some(parts) = parts {
            parts.stages.for_each(!completed, |bucket, counters| {
                let bucket = bucket.raw();
                rows.push(Row { bucket, counters });
            });
        }
        rows.clamp(tally::clamp);
        Self {
            torn: rows.room() < most,
            rows,
            parts,
            period_bytes,
            taken_at_unix_nanos: sys::unix_nanos(),
            completed,
        }
    }

    /// The buckets that have counted anything.
    pub fn iter(&self) -> impl Iterator<Item = Bucket<'_>> {
        self.rows.as_slice().iter().filter_map(|row| {
            let parts = self.parts?;
            if row.counters.iter().all(|counter| *counter == 0) {
                return None;
            }
            let key = parts.table.key(Offset::from_raw(row.bucket)?)?;
            let (class, type_number) = extra::unpack(key.extra);
            let (alloc, freed) = tally::read(&row.counters);
            Some(Bucket {
                bucket: heap::Bucket {
                    stack: key.stack,
                    size_class_bytes: class,
                    labels: key.labels,
                    alloc,
                    freed,
                },
                type_name: parts.types.name(type_number),
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
            .field("completed", &self.completed)
            .finish_non_exhaustive()
    }
}
