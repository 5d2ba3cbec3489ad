//! Stages: a stack's counters, published and to be published, apart from its bucket.
//!
//! Context: sampled; [`Stages::publish`] and reading are cold, under the clock's lock.
//! Invariant: a row belongs to one bucket for good, which names it (`Link`). The
//! published counters are written under the lock only.
//!
//! A flush looks at the counters of every bucket. Beside the stacks they would be
//! half a KiB apart; here they stand in a line, by stage:
//!
//! ```text
//! chunk: │ published of N rows │ slot 0 of N rows │ slot 1 … │ slot 2 … │  → next older
//!                row ─────────── + 1 × N ────────── + 2 × N ── + 3 × N
//! ```

use std::mem;

use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::cycle::SLOTS;
use crate::sync::{AtomicU32, Ordering};
use crate::table::{Bucket, COUNTERS, Cells, Counters};

/// Rows of a chunk: 130 KiB, of which pages are taken as they are used.
#[cfg(not(any(everprof_loom, miri)))]
const ROWS: usize = 512;
/// Few, so that models and Miri come to the second chunk.
#[cfg(any(everprof_loom, miri))]
const ROWS: usize = 8;

/// Published, and a slot for each cycle to come.
const STAGES: usize = 1 + SLOTS as usize;

/// What a bucket keeps: its row.
#[repr(C)]
#[derive(Debug)]
pub struct Link {
    /// 0 until the first event asks. Written once.
    row: AtomicU32,
    spare: AtomicU32,
}

#[repr(C)]
#[derive(Debug)]
struct Chunk {
    /// The next older chunk. This and the two below are set before the chunk is linked.
    next: AtomicU32,
    cells: AtomicU32,
    buckets: AtomicU32,
    /// Rows that were given to buckets; may exceed the chunk's.
    used: AtomicU32,
}

/// The stages' own record.
#[repr(C)]
#[derive(Debug)]
pub struct StagesRoot {
    /// The newest chunk. Published with Release.
    newest: AtomicU32,
    spare: AtomicU32,
}

impl NewRecord for Link {
    fn new_record() -> Self {
        Self {
            row: AtomicU32::new(0),
            spare: AtomicU32::new(0),
        }
    }
}

impl NewRecord for Chunk {
    fn new_record() -> Self {
        Self {
            next: AtomicU32::new(0),
            cells: AtomicU32::new(0),
            buckets: AtomicU32::new(0),
            used: AtomicU32::new(0),
        }
    }
}

impl NewRecord for StagesRoot {
    fn new_record() -> Self {
        Self {
            newest: AtomicU32::new(0),
            spare: AtomicU32::new(0),
        }
    }
}
records!(Link, Bucket<Link>, Chunk, StagesRoot);

/// Where a bucket's counters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row(Offset);

impl Row {
    /// As kept with an object.
    #[must_use]
    pub fn offset(self) -> Offset {
        self.0
    }

    /// The row that `offset` was.
    #[must_use]
    pub fn at(offset: Offset) -> Self {
        Self(offset)
    }
}

/// All counters, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub struct Stages<'a> {
    region: Region<'a>,
    root: &'a StagesRoot,
}

impl<'a> Stages<'a> {
    /// Makes them. `None`: no room.
    #[must_use]
    pub fn create(region: Region<'a>) -> Option<Self> {
        let at = region.alloc::<StagesRoot>(0)?;
        region.set_root(Root::ManagedStages, at)?;
        Self::open(region)
    }

    /// Those that `create` made in this arena.
    #[must_use]
    #[inline]
    pub fn open(region: Region<'a>) -> Option<Self> {
        let root = region.get(region.root(Root::ManagedStages)?)?;
        Some(Self { region, root })
    }

    /// The row of the bucket at `bucket`, which keeps it in `link`. `None`: it has none
    /// yet, and there is no room.
    #[must_use]
    pub fn row(&self, bucket: Offset, link: &Link) -> Option<Row> {
        // Acquire: pairs with the Release below.
        if let Some(row) = Offset::from_raw(link.row.load(Ordering::Acquire)) {
            return Some(Row(row));
        }
        let row = self.take(bucket)?;
        // Release: publishes the row's owner. Acquire on failure: the other's. A row that
        // was taken in vain says that it is the bucket's, too, and stays empty.
        match link
            .row
            .compare_exchange(0, row.raw(), Ordering::Release, Ordering::Acquire)
        {
            Ok(_) => Some(Row(row)),
            Err(other) => Offset::from_raw(other).map(Row),
        }
    }

    /// The counters of a row towards the cycles of a slot.
    #[must_use]
    #[inline]
    pub fn cells(&self, row: Row, slot: usize) -> Option<&'a Cells> {
        let bytes = (1 + slot) * ROWS * mem::size_of::<Cells>();
        self.region.get(row.0.plus_bytes(bytes)?)
    }

    /// Moves what was counted in a slot to what is published. Under the lock.
    pub fn publish(&self, slot: usize, counters: Counters) {
        for chunk in self.chunks() {
            let counted = chunk.stage(1 + slot).iter();
            for (counted, published) in counted.zip(chunk.stage(0)).take(chunk.used) {
                counted.move_to(published, counters);
            }
        }
    }

    /// Calls `visit` with every bucket and its counters: those that are published, or
    /// also those of all slots. Under the lock.
    ///
    /// What is not published may be counted meanwhile, and is read as of another
    /// process: later counters of all stages before earlier ones of any.
    pub fn for_each(&self, all_slots: bool, mut visit: impl FnMut(Offset, [u64; COUNTERS])) {
        let stages = if all_slots { STAGES } else { 1 };
        for chunk in self.chunks() {
            for (row, bucket) in chunk.buckets.iter().enumerate().take(chunk.used) {
                // Acquire: pairs with the Release in `take`.
                let Some(bucket) = Offset::from_raw(bucket.load(Ordering::Acquire)) else {
                    continue;
                };
                let mut counters = [0_u64; COUNTERS];
                for (index, sum) in counters.iter_mut().enumerate().rev() {
                    for cells in (0..stages).filter_map(|stage| chunk.stage(stage).get(row)) {
                        *sum = sum.wrapping_add(cells.read_one(index));
                    }
                }
                visit(bucket, counters);
            }
        }
    }

    /// Rows given to buckets, about.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks().map(|chunk| chunk.used).sum()
    }

    /// Whether there is no row yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives the next row to `bucket`.
    fn take(&self, bucket: Offset) -> Option<Offset> {
        let mut fresh = None;
        // Acquire: pairs with the Release that linked the chunk.
        let mut newest = self.root.newest.load(Ordering::Acquire);
        loop {
            let chunk = Offset::from_raw(newest).and_then(|at| self.chunk(at));
            if let Some(row) = chunk.and_then(|chunk| chunk.take(bucket)) {
                // A chunk made in vain stays unused: nothing is given back.
                return Some(row);
            }
            let new = match fresh {
                Some(new) => new,
                None => *fresh.insert(self.make_chunk()?),
            };
            let record = self.region.get::<Chunk>(new)?;
            // Relaxed: published by the exchange.
            record.next.store(newest, Ordering::Relaxed);
            // Release: publishes the chunk. Acquire on failure: the other's.
            newest = match self.root.newest.compare_exchange(
                newest,
                new.raw(),
                Ordering::Release,
                Ordering::Acquire,
            ) {
                Ok(_) => new.raw(),
                Err(now) => now,
            };
        }
    }

    fn make_chunk(&self) -> Option<Offset> {
        let cells = self.region.alloc_array::<Cells>(STAGES * ROWS)?;
        let buckets = self.region.alloc_array::<AtomicU32>(ROWS)?;
        let at = self.region.alloc::<Chunk>(0)?;
        let chunk = self.region.get::<Chunk>(at)?;
        // Relaxed, both: published when the chunk is linked.
        chunk.cells.store(cells.raw(), Ordering::Relaxed);
        chunk.buckets.store(buckets.raw(), Ordering::Relaxed);
        Some(at)
    }

    fn chunks(&self) -> impl Iterator<Item = OpenChunk<'a>> + use<'a> {
        // Acquire: pairs with the Release that linked it; older ones came before.
        let mut at = self.root.newest.load(Ordering::Acquire);
        let stages = *self;
        std::iter::from_fn(move || {
            let chunk = stages.chunk(Offset::from_raw(at)?)?;
            // Relaxed: written before the chunk was linked.
            at = chunk.record.next.load(Ordering::Relaxed);
            Some(chunk)
        })
    }

    fn chunk(&self, at: Offset) -> Option<OpenChunk<'a>> {
        let record = self.region.get::<Chunk>(at)?;
        // Relaxed, all: the first two were written before the chunk was linked; of the
        // third nothing is concluded but how far to look.
        let cells = Offset::from_raw(record.cells.load(Ordering::Relaxed))?;
        let buckets = Offset::from_raw(record.buckets.load(Ordering::Relaxed))?;
        Some(OpenChunk {
            record,
            first: cells,
            cells: self.region.array(cells, STAGES * ROWS)?,
            buckets: self.region.array(buckets, ROWS)?,
            used: (record.used.load(Ordering::Relaxed) as usize).min(ROWS),
        })
    }
}

struct OpenChunk<'a> {
    record: &'a Chunk,
    first: Offset,
    cells: &'a [Cells],
    buckets: &'a [AtomicU32],
    used: usize,
}

impl OpenChunk<'_> {
    fn stage(&self, stage: usize) -> &[Cells] {
        self.cells
            .get(stage * ROWS..(stage + 1) * ROWS)
            .unwrap_or(&[])
    }

    fn take(&self, bucket: Offset) -> Option<Offset> {
        // Asked first, so that a full one does not count up for ever.
        if self.used >= ROWS {
            return None;
        }
        // Relaxed: it only divides the rows.
        let row = self.record.used.fetch_add(1, Ordering::Relaxed) as usize;
        // Release: pairs with the Acquire in `for_each`; the bucket is linked.
        self.buckets
            .get(row)?
            .store(bucket.raw(), Ordering::Release);
        self.first.plus_bytes(row * mem::size_of::<Cells>())
    }
}
