//! Pool: a record of each thread between its creation and its end, in the arena.
//!
//! Context: sampled; the walks over all records are cold.
//! Invariant: a record is never moved or freed, only used again. Whoever moves its
//! `life` from one tag to the next owns what follows from it: one end is counted for
//! each beginning, and no time of a thread twice.
//!
//! ```text
//!          acquire                started            retire
//! even tag ───────▶ odd, tid 0 ───────────▶ odd, tid ──────▶ even, on the free list
//!                       │  create failed: retire       ▲
//!                       └──────────────────────────────┘
//! ```
//!
//! | field | written by | read by |
//! |---|---|---|
//! | bucket | the creator, before the tag is odd | cold walks |
//! | tid, labels_at | 0 by the creator; the thread, when it begins | cold walks |
//! | life ([`life`]) | the creator (odd), the thread's end or a walk that finds it gone (even), walks (time) | all |
//!
//! **Ends that nobody tells.** A thread whose end was not seen stays on record until a
//! walk finds its number gone, or taken by another record's thread. Walks are part of
//! each snapshot, and a few steps of one of each creation that finds no free record,
//! so that a program that nobody looks at does not fill its arena.
//!
//! **By number.** The index has a place for each of the last bits of a thread's number and
//! names the last thread there. A thread that another one put out of its place
//! is looked for in the whole list.

use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

// By its path: the model takes this file from elsewhere.
#[path = "pool/free.rs"]
mod free;
#[path = "pool/life.rs"]
mod life;

pub use free::FreeList;
use life::Life;

/// One thread.
#[repr(C)]
#[derive(Debug)]
pub struct Record {
    /// The next older record. Written before this one is linked, once.
    next: AtomicU32,
    /// The next free record, while this one is free.
    next_free: AtomicU32,
    /// A [`Life`].
    life: AtomicU64,
    /// The thread's number; 0: it has not begun.
    tid: AtomicU32,
    /// The bucket of who created it; 0: everprof, in no profile.
    bucket: AtomicU32,
    /// Where the thread keeps the labels in force.
    labels_at: AtomicU64,
}

#[repr(C)]
#[derive(Debug)]
struct PoolRoot {
    /// The newest record. Written by whoever links one.
    all: AtomicU32,
    /// Where the next few steps of a walk begin. A hint.
    cursor: AtomicU32,
    /// Free records, by their offset.
    free: FreeList,
    /// Created and not begun.
    starting: AtomicU32,
    /// Places of the index, a power of two, minus 1. This and `index`: by `create`.
    index_mask: AtomicU32,
    index: AtomicU32,
    spare: AtomicU32,
}

impl NewRecord for Record {
    fn new_record() -> Self {
        Self {
            next: AtomicU32::new(0),
            next_free: AtomicU32::new(0),
            life: AtomicU64::new(0),
            tid: AtomicU32::new(0),
            bucket: AtomicU32::new(0),
            labels_at: AtomicU64::new(0),
        }
    }
}

impl NewRecord for PoolRoot {
    fn new_record() -> Self {
        Self {
            all: AtomicU32::new(0),
            cursor: AtomicU32::new(0),
            free: FreeList::new(),
            starting: AtomicU32::new(0),
            index_mask: AtomicU32::new(0),
            index: AtomicU32::new(0),
            spare: AtomicU32::new(0),
        }
    }
}
records!(Record, PoolRoot);

/// A thread on record, as long as it is: after its end the tag is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its record stands.
    pub at: Offset,
    /// Odd.
    pub tag: u32,
}

/// What is known of a thread that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Which life of which record.
    pub entry: Entry,
    /// Its number.
    pub tid: u32,
    /// The bucket of its creator.
    pub bucket: Option<Offset>,
    /// Where its labels in force stand; the thread may be gone, and this memory, too.
    pub labels_at: u64,
}

/// What the index says of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The last thread with that number, which may have ended.
    At(Offset),
    /// Nothing, or no more.
    Unknown,
}

/// The pool, borrowed from its arena.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    region: Region<'a>,
    root: &'a PoolRoot,
    index: &'a [AtomicU64],
}

impl<'a> Pool<'a> {
    /// Makes it, empty. `None`: no room.
    pub fn create(region: Region<'a>) -> Option<Self> {
        let count = index_len(region.capacity_bytes());
        let index = region.alloc_spread::<AtomicU64>(count)?;
        let at = region.alloc::<PoolRoot>(0)?;
        let root = region.get::<PoolRoot>(at)?;
        // Relaxed, both: published with the root.
        root.index.store(index.raw(), Ordering::Relaxed);
        root.index_mask
            .store(u32::try_from(count - 1).ok()?, Ordering::Relaxed);
        region.set_root(Root::Threads, at)?;
        Self::open(region)
    }

    /// The one that `create` made in this arena.
    pub fn open(region: Region<'a>) -> Option<Self> {
        let root = region.get::<PoolRoot>(region.root(Root::Threads)?)?;
        // Relaxed, both: published with the root.
        let count = root.index_mask.load(Ordering::Relaxed) as usize + 1;
        let index = Offset::from_raw(root.index.load(Ordering::Relaxed))?;
        Some(Self {
            region,
            root,
            index: region.array(index, count)?,
        })
    }

    /// Whether some thread has ended whose record is free.
    pub fn has_free(&self) -> bool {
        !self.root.free.is_empty()
    }

    /// A record for a thread to be created by whom `bucket` says; none: the thread is in no
    /// profile. `None`: no room.
    pub fn acquire(&self, bucket: Option<Offset>) -> Option<Entry> {
        let at = match self.pop() {
            Some(at) => at,
            None => self.link_new()?,
        };
        let record = self.record(at)?;
        // Relaxed, to the next comment: free, so that nobody else writes it.
        let life = Life::of(record.life.load(Ordering::Relaxed)).next();
        let bucket = bucket.map_or(0, Offset::raw);
        record.tid.store(0, Ordering::Relaxed);
        record.labels_at.store(0, Ordering::Relaxed);
        record.bucket.store(bucket, Ordering::Relaxed);
        // Relaxed: read by those who then wait a little.
        self.root.starting.fetch_add(1, Ordering::Relaxed);
        // Release: publishes the above. Pairs with the Acquire in `for_each`.
        record.life.store(life.word(), Ordering::Release);
        Some(Entry {
            at,
            tag: life.tag(),
        })
    }

    /// The thread of a record begins, as number `tid`. False: the record is not its any more.
    /// Once for what `acquire` gave.
    pub fn start(&self, entry: Entry, tid: u32, labels_at: u64) -> bool {
        let Some(record) = self.record(entry.at) else {
            return false;
        };
        // Relaxed: thread creation published what the creator wrote.
        if Life::of(record.life.load(Ordering::Relaxed)).tag() != entry.tag {
            return false;
        }
        if let Some(place) = self.place(tid) {
            // Relaxed: read together with the record it names, which does not move.
            place.store(
                u64::from(tid) << 32 | u64::from(entry.at.raw()),
                Ordering::Relaxed,
            );
        }
        // Relaxed, both: numbers; walks that read tid 0 leave the thread out.
        record.labels_at.store(labels_at, Ordering::Relaxed);
        record.tid.store(tid, Ordering::Relaxed);
        // Release: pairs with the Acquire in `starting`; the index knows the thread.
        self.root.starting.fetch_sub(1, Ordering::Release);
        true
    }

    /// The thread was not created after all.
    pub fn abandon(&self, entry: Entry) {
        // Not where a child of a fork has freed it, which expects nobody to begin.
        if self.retire(entry).is_some() {
            // Relaxed: nothing was begun.
            self.root.starting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends a thread's record. The nanoseconds that were counted of it; `None`: it is
    /// another's by now, or a walk was faster.
    pub fn retire(&self, entry: Entry) -> Option<u64> {
        let record = self.record(entry.at)?;
        // AcqRel: whoever takes the record next finds us done with it.
        let before = record
            .life
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                let life = Life::of(word);
                (life.tag() == entry.tag).then_some(life.next().word())
            })
            .ok()?;
        self.push(entry.at, record);
        Some(Life::of(before).counted_nanos())
    }

    /// Takes up to `cpu_nanos` of a thread as counted. How many of them were not yet.
    pub fn claim(&self, entry: Entry, cpu_nanos: u64) -> u64 {
        let Some(record) = self.record(entry.at) else {
            return 0;
        };
        let mut more_nanos = 0;
        // Release: what was read of this life, as the bucket, was read before. Pairs with the
        // Acquire in `retire`, behind which it may be another's. Relaxed: the number.
        let claimed = record
            .life
            .fetch_update(Ordering::Release, Ordering::Relaxed, |word| {
                let life = Life::of(word);
                let after = life
                    .counted_up_to(cpu_nanos)
                    .filter(|_| life.tag() == entry.tag)?;
                more_nanos = after.counted_nanos() - life.counted_nanos();
                Some(after.word())
            });
        claimed.map_or(0, |_| more_nanos)
    }

    /// Calls `visit` with every thread that has begun and not ended. Cold.
    pub fn for_each(&self, mut visit: impl FnMut(Known)) {
        // Acquire: pairs with the Release in `link_new`; the record is whole.
        let mut at = self.root.all.load(Ordering::Acquire);
        for _ in 0..self.most_records() {
            let Some(known) = self.step(&mut at) else {
                return;
            };
            known.into_iter().for_each(&mut visit);
        }
    }

    /// As `for_each`, with the next `count` records only.
    pub fn for_some(&self, count: usize, mut visit: impl FnMut(Known)) {
        // Relaxed, here and below: a hint, and a record's place once linked.
        let mut at = self.root.cursor.load(Ordering::Relaxed);
        for _ in 0..count {
            if at == 0 {
                // Acquire: as in `for_each`.
                at = self.root.all.load(Ordering::Acquire);
            }
            match self.step(&mut at) {
                Some(known) => known.into_iter().for_each(&mut visit),
                None => break,
            }
        }
        self.root.cursor.store(at, Ordering::Relaxed);
    }

    /// How many threads are created and have not begun.
    pub fn starting(&self) -> u32 {
        // Acquire: pairs with the Release in `start`.
        self.root.starting.load(Ordering::Acquire)
    }

    /// The last thread known with this number.
    pub fn seen(&self, tid: u32) -> Seen {
        // Relaxed: see `start`.
        let place = self
            .place(tid)
            .map_or(0, |place| place.load(Ordering::Relaxed));
        match Offset::from_raw(place as u32) {
            Some(at) if (place >> 32) as u32 == tid => Seen::At(at),
            _ => Seen::Unknown,
        }
    }

    /// The thread on record at `at`, if it has begun and not ended.
    pub fn known(&self, at: Offset) -> Option<Known> {
        let record = self.record(at)?;
        // Acquire: pairs with the Release in `acquire`; the fields are this life's.
        let life = Life::of(record.life.load(Ordering::Acquire));
        // Relaxed, all: written before the tag, or the thread's own a little later.
        let tid = record.tid.load(Ordering::Relaxed);
        let bucket = Offset::from_raw(record.bucket.load(Ordering::Relaxed));
        let labels_at = record.labels_at.load(Ordering::Relaxed);
        (life.is_taken() && tid != 0).then_some(Known {
            entry: Entry {
                at,
                tag: life.tag(),
            },
            tid,
            bucket,
            labels_at,
        })
    }

    /// No thread is on record: in a fork's child, whose only thread is nobody's here.
    pub fn reset(&self) {
        // Relaxed, all: only one thread is here.
        self.root.free.clear();
        self.root.starting.store(0, Ordering::Relaxed);
        for place in self.index {
            if place.load(Ordering::Relaxed) != 0 {
                place.store(0, Ordering::Relaxed);
            }
        }
        let mut at = self.root.all.load(Ordering::Relaxed);
        for _ in 0..self.most_records() {
            let Some(here) = Offset::from_raw(at) else {
                return;
            };
            let Some(record) = self.record(here) else {
                return;
            };
            let life = Life::of(record.life.load(Ordering::Relaxed));
            if life.is_taken() {
                record.life.store(life.next().word(), Ordering::Relaxed);
            }
            at = record.next.load(Ordering::Relaxed);
            self.push(here, record);
        }
    }

    fn record(&self, at: Offset) -> Option<&'a Record> {
        self.region.get(at)
    }

    /// One step of a walk: `None` at its end, else whether there is a thread.
    fn step(&self, at: &mut u32) -> Option<Option<Known>> {
        let here = Offset::from_raw(*at)?;
        // Relaxed: written before the record was linked.
        *at = self.record(here)?.next.load(Ordering::Relaxed);
        Some(self.known(here))
    }

    fn place(&self, tid: u32) -> Option<&'a AtomicU64> {
        self.index.get(tid as usize & (self.index.len() - 1))
    }

    fn most_records(&self) -> usize {
        self.region.capacity_bytes() / size_of::<Record>()
    }

    fn link_new(&self) -> Option<Offset> {
        let at = self.region.alloc::<Record>(0)?;
        let record = self.region.get::<Record>(at)?;
        // Relaxed, both: only the swap below counts.
        let mut head = self.root.all.load(Ordering::Relaxed);
        loop {
            record.next.store(head, Ordering::Relaxed);
            // Release: publishes the record. Pairs with the Acquire in walks.
            match self.root.all.compare_exchange_weak(
                head,
                at.raw(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(at),
                Err(now) => head = now,
            }
        }
    }

    fn push(&self, at: Offset, record: &Record) {
        self.root.free.push(at.raw(), &record.next_free);
    }

    fn pop(&self) -> Option<Offset> {
        let record = |raw| self.record(Offset::from_raw(raw)?);
        let taken = self.root.free.pop(|raw| Some(&record(raw)?.next_free))?;
        Offset::from_raw(taken)
    }
}

/// A place of eight bytes for each 4 KiB: 16,384 at the default limit. Untouched places
/// cost nothing.
#[cfg(not(any(everprof_loom, miri)))]
fn index_len(capacity_bytes: usize) -> usize {
    (capacity_bytes >> 12)
        .clamp(64, 1 << 16)
        .next_power_of_two()
}

/// Few, so that threads put one another out of their places.
#[cfg(any(everprof_loom, miri))]
fn index_len(_capacity_bytes: usize) -> usize {
    2
}

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Record>() == 32 && size_of::<PoolRoot>() == 32);

#[cfg(all(test, not(everprof_loom)))]
mod tests;
