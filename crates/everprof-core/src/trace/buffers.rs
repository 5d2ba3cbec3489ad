//! Buffers: what a thread has recorded on its way to the one who reads it.
//!
//! Context: sampled (`join`, `append`); what the reader calls is cold.
//! Invariant: a chunk is written by one thread, and read by one reader up to where that
//! thread has said. It is free again only when both are through with it: the reader
//! frees it after its writer has linked the next one, or is no more. A thread is one writer
//! ([`own`]).
//!
//! ```text
//! slot of a thread ─ reading → chunk ─ next → chunk ─ next → chunk ← its state (Own)
//!                              │ read │ unread │ unread │ … filled │  │
//! chunk: filled │ next │ words of whole events …
//! ```
//!
//! | step | who | does |
//! |---|---|---|
//! | append | thread | writes words, then `filled`, Release |
//! | chunk is full | thread | claims a free one, then `next` of the full one, Release |
//! | read | reader | `next`, then `filled`, Acquire: where there is a next, `filled` is final |
//! | done | reader | empties the chunk, then sets its bit in `free`, Release |
//!
//! Chunks are shared out as they are needed ([`chunks`]), so that one busy thread may have
//! nearly all of them. Where there is none left, events are counted, and the next that finds
//! room tells how many there were.

use super::words::{self, Event, MOST_WORDS};
use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

mod chunks;
mod own;

use chunks::{CHUNK_WORDS, Chunks, FILLED, FREE_WORDS, HEAD_WORDS, NEXT};
pub use own::Own;
use own::Place;

/// Threads that can have a slot at one time.
#[cfg(not(any(everprof_loom, miri)))]
const SLOTS: usize = 8192;
#[cfg(any(everprof_loom, miri))]
const SLOTS: usize = 3;

/// Stands for an owner in a slot that is being taken.
const JOINING: u32 = u32::MAX;

/// The buffers' own record.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct BuffersRoot {
    /// Where the chunks and slots stand, and how many chunks there are. Written once.
    chunks: AtomicU32,
    slots: AtomicU32,
    chunk_count: AtomicU32,
    /// Slots that were ever taken. Raised by whoever takes one.
    used_slots: AtomicU32,
    /// How often something was given back. Raised by the reader.
    given: AtomicU32,
    /// The trace that is taken, or was last. Written by its session.
    trace: AtomicU32,
    /// A bit for each chunk that nobody has. Cleared by threads, set by the reader.
    free: [AtomicU64; FREE_WORDS],
}

/// A thread's place.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Slot {
    /// The thread, 0, or [`JOINING`]. Taken by the thread, given back by the reader.
    owner: AtomicU32,
    /// How often it was taken: tells threads that had it apart.
    taken: AtomicU32,
    /// The chunk being read, and how far. Written by the thread before it shows itself,
    /// then by the reader.
    reading: AtomicU32,
    read: AtomicU32,
    /// Events that had no room since the last that had, in the lower half; the trace that
    /// they belong to, in the upper. Written by the thread.
    lost: AtomicU64,
}

impl NewRecord for BuffersRoot {
    fn new_record() -> Self {
        Self {
            chunks: AtomicU32::new(0),
            slots: AtomicU32::new(0),
            chunk_count: AtomicU32::new(0),
            used_slots: AtomicU32::new(0),
            given: AtomicU32::new(0),
            trace: AtomicU32::new(0),
            free: [(); FREE_WORDS].map(|()| AtomicU64::new(0)),
        }
    }
}

impl NewRecord for Slot {
    fn new_record() -> Self {
        Self {
            owner: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            reading: AtomicU32::new(0),
            read: AtomicU32::new(0),
            lost: AtomicU64::new(0),
        }
    }
}
records!(BuffersRoot, Slot);

/// A thread as its slot shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    /// The slot's number.
    pub slot: u32,
    /// Tells it from others that had the slot.
    pub taken: u32,
    /// As the kernel numbers it.
    pub tid: u32,
}

/// The buffers, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    root: &'a BuffersRoot,
    slots: &'a [Slot],
    chunks: Chunks<'a>,
}

impl<'a> Buffers<'a> {
    /// Makes as many as fit into `bytes`. `None`: no room.
    #[must_use]
    pub fn create(region: Region<'a>, bytes: usize) -> Option<Self> {
        let count = (bytes / (CHUNK_WORDS * size_of::<u64>())).clamp(1, FREE_WORDS * 64);
        let root_at = region.alloc::<BuffersRoot>(0)?;
        let slots = region.alloc_array::<Slot>(SLOTS)?;
        let chunks = region.alloc_array::<AtomicU64>(count * CHUNK_WORDS)?;
        let root = region.get::<BuffersRoot>(root_at)?;
        // Relaxed, all: published with the root.
        root.slots.store(slots.raw(), Ordering::Relaxed);
        root.chunks.store(chunks.raw(), Ordering::Relaxed);
        root.chunk_count
            .store(u32::try_from(count).ok()?, Ordering::Relaxed);
        let buffers = Self {
            root,
            slots: region.array(slots, SLOTS)?,
            chunks: Chunks {
                free: &root.free,
                words: region.array(chunks, count * CHUNK_WORDS)?,
            },
        };
        buffers.chunks.set_all_free();
        region.set_root(Root::TraceBuffers, root_at)?;
        Some(buffers)
    }

    /// Those that `create` made in this arena.
    #[must_use]
    pub fn open(region: Region<'a>) -> Option<Self> {
        let root = region.get::<BuffersRoot>(region.root(Root::TraceBuffers)?)?;
        // Relaxed, all: published with the root.
        let count = root.chunk_count.load(Ordering::Relaxed) as usize;
        let slots = Offset::from_raw(root.slots.load(Ordering::Relaxed))?;
        let chunks = Offset::from_raw(root.chunks.load(Ordering::Relaxed))?;
        Some(Self {
            root,
            slots: region.array(slots, SLOTS)?,
            chunks: Chunks {
                free: &root.free,
                words: region.array(chunks, count * CHUNK_WORDS)?,
            },
        })
    }

    /// Gives the calling thread a slot and a first chunk. False: there is none left.
    pub fn join(&self, own: &Own, tid: u32) -> bool {
        // Acquire: pairs with the Release in `raise_given`; what was given is seen. Nobody who
        // found nothing looks again before there is something.
        let given = self.root.given.load(Ordering::Acquire).wrapping_add(1);
        let has_joined = own.refused_at.get() != given && self.take_slot(own, tid);
        if !has_joined {
            own.refused_at.set(given);
        }
        has_joined
    }

    #[cold]
    fn take_slot(&self, own: &Own, tid: u32) -> bool {
        let Some(chunk) = self.chunks.claim() else {
            return false;
        };
        let free = self.slots.iter().position(|slot| {
            // Relaxed: looked at again by the exchange.
            slot.owner.load(Ordering::Relaxed) == 0
                // Acquire: pairs with the Release in `give_back`; the slot is as it was left.
                && slot
                    .owner
                    .compare_exchange(0, JOINING, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        });
        let Some((index, slot)) = free.and_then(|index| Some((index, self.slots.get(index)?)))
        else {
            self.chunks.set_free(chunk);
            return false;
        };
        // Relaxed, to the store of the owner: published by it.
        slot.reading.store(chunk, Ordering::Relaxed);
        slot.read.store(HEAD_WORDS as u32, Ordering::Relaxed);
        slot.lost.store(0, Ordering::Relaxed);
        slot.taken.fetch_add(1, Ordering::Relaxed);
        self.root
            .used_slots
            .fetch_max(index as u32 + 1, Ordering::Relaxed);
        // Release: publishes the slot. Pairs with the Acquire in `writers`.
        slot.owner.store(tid, Ordering::Release);
        let place = Place {
            slot: index as u16 + 1,
            chunk: chunk as u16,
            at: HEAD_WORDS as u16,
        };
        place.keep(own);
        true
    }

    /// Whether the thread has joined.
    #[inline]
    #[must_use]
    pub fn has_joined(&self, own: &Own) -> bool {
        Place::of(own).slot != 0
    }

    /// Writes an event of the calling thread, or counts it. False: the thread has not joined.
    #[inline]
    pub fn append(&self, own: &Own, ticks: u64, event: &Event) -> bool {
        let mut place = Place::of(own);
        let Some(slot) = self.slot_of(place) else {
            return false;
        };
        let lost = self.lost_of(slot);
        if lost != 0 {
            let told = words::pack(ticks, &Event::Lost { events: lost });
            if !self.put(&mut place, told.as_slice()) {
                self.set_lost(slot, lost + 1);
                return true;
            }
            self.set_lost(slot, 0);
        }
        if !self.put(&mut place, words::pack(ticks, event).as_slice()) {
            self.set_lost(slot, 1);
        }
        place.keep(own);
        true
    }

    /// Counts events of the calling thread that are not written. False: it has not joined.
    pub fn count_lost(&self, own: &Own, events: u64) -> bool {
        let slot = self.slot_of(Place::of(own));
        if let Some(slot) = slot {
            self.set_lost(slot, self.lost_of(slot).saturating_add(events));
        }
        slot.is_some()
    }

    #[inline]
    fn slot_of(&self, place: Place) -> Option<&'a Slot> {
        self.slots.get(usize::from(place.slot).wrapping_sub(1))
    }

    /// Events of this trace that had no room; those of an earlier one were told of there.
    #[inline]
    fn lost_of(&self, slot: &Slot) -> u64 {
        // Relaxed, both: of this thread; the reader takes it for a figure.
        let lost = slot.lost.load(Ordering::Relaxed);
        if lost == 0 || (lost >> 32) as u32 != self.root.trace.load(Ordering::Relaxed) {
            return 0;
        }
        lost & u64::from(u32::MAX)
    }

    fn set_lost(&self, slot: &Slot, events: u64) {
        // Relaxed, both: as in `lost_of`.
        let trace = u64::from(self.root.trace.load(Ordering::Relaxed));
        let events = events.min(u64::from(u32::MAX));
        slot.lost.store(trace << 32 | events, Ordering::Relaxed);
    }

    /// What has no room from here on is this trace's. By its session, before it is on.
    pub(crate) fn begin_trace(&self, trace: u32) {
        // Relaxed: published by `on`.
        self.root.trace.store(trace, Ordering::Relaxed);
    }

    #[inline]
    fn put(&self, place: &mut Place, words: &[u64]) -> bool {
        if usize::from(place.at) + words.len() > CHUNK_WORDS && !self.go_on(place) {
            return false;
        }
        let Some(chunk) = self.chunks.get(place.chunk.into()) else {
            return false;
        };
        let at = usize::from(place.at);
        let Some(places) = chunk.get(at..at + words.len()) else {
            return false;
        };
        for (place, word) in places.iter().zip(words) {
            // Relaxed: published by `filled`.
            place.store(*word, Ordering::Relaxed);
        }
        place.at += words.len() as u16;
        if let Some(filled) = chunk.get(FILLED) {
            // Release: publishes the words. Pairs with the Acquire in `read`.
            filled.store(place.at.into(), Ordering::Release);
        }
        true
    }

    /// Begins a fresh chunk. False: there is none.
    #[cold]
    fn go_on(&self, place: &mut Place) -> bool {
        let Some(next) = self.chunks.claim() else {
            return false;
        };
        let full = self.chunks.get(place.chunk.into());
        if let Some(link) = full.and_then(|full| full.get(NEXT)) {
            // Release: what was filled before is final. Pairs with the Acquire in `read`.
            link.store(u64::from(next) + 1, Ordering::Release);
        }
        place.chunk = next as u16;
        place.at = HEAD_WORDS as u16;
        true
    }

    /// The threads that have a slot. Cold.
    pub fn writers(&self) -> impl Iterator<Item = Writer> + use<'a> {
        // Relaxed: one that comes now is seen the next time.
        let used = self.root.used_slots.load(Ordering::Relaxed);
        (0..used).zip(self.slots).filter_map(|(number, slot)| {
            // Acquire: pairs with the Release in `join`.
            let tid = slot.owner.load(Ordering::Acquire);
            (tid != 0 && tid != JOINING).then(|| Writer {
                slot: number,
                // Relaxed: written before the owner.
                taken: slot.taken.load(Ordering::Relaxed),
                tid,
            })
        })
    }

    /// Calls `visit` with what the thread has written since the last time; how many
    /// events that were. No more than fits into all chunks, however fast the thread writes:
    /// all that a thread has left that is no more. Cold; by one reader at a time.
    pub fn read(&self, writer: Writer, mut visit: impl FnMut(u64, Event)) -> u64 {
        let Some(slot) = self.slots.get(writer.slot as usize) else {
            return 0;
        };
        let mut events = 0;
        for _ in 0..=self.chunks.count() {
            // Relaxed, both: the reader's own since the thread showed itself.
            let number = slot.reading.load(Ordering::Relaxed);
            let read = slot.read.load(Ordering::Relaxed) as usize;
            let Some(chunk) = self.chunks.get(number) else {
                return events;
            };
            let (Some(filled), Some(next)) = (chunk.get(FILLED), chunk.get(NEXT)) else {
                return events;
            };
            // Acquire: pairs with the Release in `go_on`: where there is a next chunk,
            // what is filled below is all that ever will be.
            let next = next.load(Ordering::Acquire);
            // Acquire: pairs with the Release in `put`; the words are there. 0: nothing was written.
            let filled = (filled.load(Ordering::Acquire) as usize).max(read);
            events += events_of(chunk.get(read..filled).unwrap_or(&[]), &mut visit);
            let Some(next) = u32::try_from(next)
                .ok()
                .and_then(|next| next.checked_sub(1))
            else {
                slot.read.store(filled as u32, Ordering::Relaxed);
                return events;
            };
            slot.reading.store(next, Ordering::Relaxed);
            slot.read.store(HEAD_WORDS as u32, Ordering::Relaxed);
            self.chunks.set_free(number);
            self.raise_given();
        }
        events
    }

    /// Events of the thread that had no room and are in no [`Event::Lost`] yet. Cold.
    #[must_use]
    pub fn lost(&self, writer: Writer) -> u64 {
        self.slots
            .get(writer.slot as usize)
            .map_or(0, |slot| self.lost_of(slot))
    }

    /// Gives back what a thread had that is no more, when all of it has been read. Cold.
    pub fn give_back(&self, writer: Writer) {
        if let Some(slot) = self.slots.get(writer.slot as usize) {
            // Relaxed: the reader's own.
            self.chunks.set_free(slot.reading.load(Ordering::Relaxed));
            // Release: pairs with the Acquire in `join`.
            slot.owner.store(0, Ordering::Release);
            self.raise_given();
        }
    }

    /// Nobody has anything: in a fork's child, whose only thread forgets what it had.
    pub fn reset(&self) {
        for slot in self.slots {
            // Relaxed, all: only one thread is here.
            slot.owner.store(0, Ordering::Relaxed);
        }
        self.root.used_slots.store(0, Ordering::Relaxed);
        self.chunks.reset();
    }

    /// Lets those look again who found nothing to join with.
    fn raise_given(&self) {
        // Release: what was given before is seen. Pairs with the Acquire in `join`.
        self.root.given.fetch_add(1, Ordering::Release);
    }
}

fn events_of(words: &[AtomicU64], visit: &mut impl FnMut(u64, Event)) -> u64 {
    let mut rest = words;
    let mut events = 0;
    while let Some(first) = rest.first() {
        // Relaxed, here and below: published by `filled`.
        let len = words::len_of(first.load(Ordering::Relaxed));
        let mut event = [0; MOST_WORDS];
        let Some((these, after)) = rest.split_at_checked(len).filter(|_| len != 0) else {
            break;
        };
        for (word, place) in event.iter_mut().zip(these) {
            *word = place.load(Ordering::Relaxed);
        }
        if let Some((ticks, event)) = event.get(..len).and_then(words::unpack) {
            visit(ticks, event);
            events += 1;
        }
        rest = after;
    }
    events
}

#[cfg(all(test, not(everprof_loom)))]
mod tests;
