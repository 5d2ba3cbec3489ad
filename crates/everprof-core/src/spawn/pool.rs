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
//! | bucket, labels, routine, argument | the creator, before the tag is odd | the thread, cold walks |
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
use crate::labels::Labels;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

// By its path: the model takes this file from elsewhere.
#[path = "pool/life.rs"]
mod life;

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
    labels: AtomicU64,
    /// What the program asked to be run, and with which argument.
    routine: AtomicU64,
    argument: AtomicU64,
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
    /// The first free record, and above it how often one was taken, so that a swap
    /// fails where the same record came back meanwhile.
    free: AtomicU64,
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
            labels: AtomicU64::new(0),
            routine: AtomicU64::new(0),
            argument: AtomicU64::new(0),
            labels_at: AtomicU64::new(0),
        }
    }
}

impl NewRecord for PoolRoot {
    fn new_record() -> Self {
        Self {
            all: AtomicU32::new(0),
            cursor: AtomicU32::new(0),
            free: AtomicU64::new(0),
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

/// What the creator tells the thread.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// The bucket of the creator; none: the thread is in no profile.
    pub bucket: Option<Offset>,
    /// The creator's labels.
    pub labels: Labels,
    /// What is to be run.
    pub routine: usize,
    /// With which argument.
    pub argument: usize,
}

/// What a thread is told by its creator's record.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// The thread's record.
    pub entry: Entry,
    /// Its creator's labels.
    pub labels: Labels,
    /// Whether it is everprof's own: no bucket has it.
    pub is_own: bool,
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
        // Relaxed: a hint.
        self.root.free.load(Ordering::Relaxed) as u32 != 0
    }

    /// A record for a thread to be created. `None`: no room.
    pub fn acquire(&self, birth: &Birth) -> Option<Entry> {
        let at = match self.pop() {
            Some(at) => at,
            None => self.link_new()?,
        };
        let record = self.record(at)?;
        // Relaxed, to the next comment: free, so that nobody else writes it.
        let life = Life::of(record.life.load(Ordering::Relaxed)).next();
        let bucket = birth.bucket.map_or(0, Offset::raw);
        record.tid.store(0, Ordering::Relaxed);
        record.labels_at.store(0, Ordering::Relaxed);
        record.bucket.store(bucket, Ordering::Relaxed);
        record
            .labels
            .store(birth.labels.to_bits(), Ordering::Relaxed);
        let (routine, argument) = (birth.routine as u64, birth.argument as u64);
        record.routine.store(routine, Ordering::Relaxed);
        record.argument.store(argument, Ordering::Relaxed);
        // Relaxed: read by those who then wait a little.
        self.root.starting.fetch_add(1, Ordering::Relaxed);
        // Release: publishes the above. Pairs with the Acquire in `for_each`.
        record.life.store(life.word(), Ordering::Release);
        Some(Entry {
            at,
            tag: life.tag(),
        })
    }

    /// The thread of the record at `address` begins, as number `tid`: what its creator
    /// told it. `None`: that is nowhere in the arena.
    ///
    /// `address` is that of what `acquire` gave, by way of thread creation, and is begun once.
    pub fn start(&self, address: *const u8, tid: u32, labels_at: u64) -> Option<Begun> {
        let at = self.region.offset_of(address)?;
        let record = self.record(at)?;
        // Relaxed: thread creation published what the creator wrote.
        let tag = Life::of(record.life.load(Ordering::Relaxed)).tag();
        let labels = Labels::from_bits(record.labels.load(Ordering::Relaxed));
        let bucket = Offset::from_raw(record.bucket.load(Ordering::Relaxed));
        if let Some(place) = self.place(tid) {
            // Relaxed: read together with the record it names, which does not move.
            place.store(
                u64::from(tid) << 32 | u64::from(at.raw()),
                Ordering::Relaxed,
            );
        }
        // Relaxed, both: numbers; walks that read tid 0 leave the thread out.
        record.labels_at.store(labels_at, Ordering::Relaxed);
        record.tid.store(tid, Ordering::Relaxed);
        // Release: pairs with the Acquire in `starting`; the index knows the thread.
        self.root.starting.fetch_sub(1, Ordering::Release);
        Some(Begun {
            entry: Entry { at, tag },
            labels,
            is_own: bucket.is_none(),
        })
    }

    /// The thread was not created after all.
    pub fn abandon(&self, entry: Entry) {
        // Relaxed: nothing was begun.
        self.root.starting.fetch_sub(1, Ordering::Relaxed);
        self.retire(entry);
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
        // Relaxed, both: the number is all there is to it.
        let claimed = record
            .life
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
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
        self.root.free.store(0, Ordering::Relaxed);
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

    /// The record at `at`, for those who know that it is one.
    pub fn address(&self, at: Offset) -> *mut u8 {
        self.region.pointer(at)
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
        let free = &self.root.free;
        // Relaxed: compared below.
        let mut head = free.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the swap.
            record.next_free.store(head as u32, Ordering::Relaxed);
            let new = head & !u64::from(u32::MAX) | u64::from(at.raw());
            // Release: pairs with the Acquire in `pop`; the record is free.
            match free.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn pop(&self) -> Option<Offset> {
        let free = &self.root.free;
        // Acquire, here and on failure: pairs with the Release in `push`.
        let mut head = free.load(Ordering::Acquire);
        loop {
            let at = Offset::from_raw(head as u32)?;
            // Relaxed: another's by now, perhaps; then the count above has moved and
            // the swap fails.
            let next = self.record(at)?.next_free.load(Ordering::Relaxed);
            let taken = (head >> 32).wrapping_add(1) << 32;
            let new = taken | u64::from(next);
            match free.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(at),
                Err(now) => head = now,
            }
        }
    }
}

/// What the thread of the record at `record` is to run.
///
/// # Safety
/// `record` is the address of a record that `acquire` gave for the calling thread.
pub unsafe fn routine_at(record: *const Record) -> (usize, usize) {
    // SAFETY: records stay mapped and are never moved (module head).
    let record = unsafe { &*record };
    // Relaxed: thread creation published what the creator wrote.
    (
        record.routine.load(Ordering::Relaxed) as usize,
        record.argument.load(Ordering::Relaxed) as usize,
    )
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
const _: () = assert!(size_of::<Record>() == 56 && size_of::<PoolRoot>() == 32);

#[cfg(all(test, not(everprof_loom)))]
mod tests;
