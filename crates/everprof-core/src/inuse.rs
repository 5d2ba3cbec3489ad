//! In-use store: from the address of a sampled object to what it stands for.
//!
//! Context: sampled. No global allocator, no lock, no panic. Removal also works
//! in a signal handler, whatever it interrupted.
//! Invariant: an address stands in at most one slot. Whoever inserts it has just
//! been given it by the inner allocator, and whoever removes it gives it back
//! only afterwards, so no two threads insert one address at a time.
//!
//! ```text
//! InUseRoot ─→ segment of 128 slots, of 1,024, of 2,048, … ─→ each slot: key │ cell
//! ```
//!
//! [`segment`] has what a slot goes through. A place is reserved before the object is
//! allocated, so publishing always finds a free slot, and a sample that was admitted is
//! never lost. Segments are made ahead of need, each twice as large as the one before; where
//! there is no room for another, samples become fewer ([`InUse::thinning`]).

use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::sync::{AtomicU32, Ordering};

mod object;
mod segment;

pub use object::Object;
use segment::Segment;

/// The store's own record.
#[repr(C)]
#[derive(Debug)]
pub struct InUseRoot {
    /// How many segments there are. Written by whoever holds `growing`; publishes them.
    count: AtomicU32,
    /// 1 while somebody makes a segment.
    growing: AtomicU32,
    /// 1 once a segment was needed and not made: for want of memory, or because
    /// whoever was at it never came to its end.
    full: AtomicU32,
    /// Where they stand. Written once each, before they are counted.
    segments: [AtomicU32; SEGMENTS],
}

/// The second has 1,024 slots and each twice as many, so that the 22nd would be larger
/// than the largest arena; the others are for the small ones made near the cap.
const SEGMENTS: usize = 24;

/// How many segments may be as small as the first.
const SMALL_SEGMENTS: usize = 4;

/// Two pages, so that a process with few samples touches no more. Were the first segment as
/// large as the second, its objects would lie scattered over twelve.
#[cfg(not(any(everprof_loom, miri)))]
const FIRST_SLOTS: usize = 128;
/// Half of what the second segment has.
#[cfg(not(any(everprof_loom, miri)))]
const GROWN_SLOTS: usize = 512;
/// Few, so that models reach a full segment.
#[cfg(any(everprof_loom, miri))]
const FIRST_SLOTS: usize = 4;
#[cfg(any(everprof_loom, miri))]
const GROWN_SLOTS: usize = 4;

/// A place for an object to come.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Place {
    segment: Offset,
}

/// An object that was taken out and holds its slot until it is released or
/// restored.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Held {
    segment: Offset,
    slot: usize,
    address: u64,
    /// What was stored for it.
    pub object: Object,
}

impl Held {
    /// Where the object stands.
    #[must_use]
    pub fn address(&self) -> usize {
        self.address as usize
    }
}

/// A store, borrowed from its arena.
#[derive(Clone, Copy, Debug)]
pub struct InUse<'a> {
    region: Region<'a>,
    root: &'a InUseRoot,
}

impl<'a> InUse<'a> {
    /// Makes the store of an arena. `None`: no room.
    #[must_use]
    pub fn create(region: Region<'a>) -> Option<Self> {
        let at = region.alloc::<InUseRoot>(0)?;
        let store = Self {
            region,
            root: region.get(at)?,
        };
        store.add_segment(0, FIRST_SLOTS)?;
        region.set_root(Root::HeapInUse, at)?;
        Some(store)
    }

    /// The store that `create` made in this arena, perhaps in another process.
    #[must_use]
    #[inline]
    pub fn open(region: Region<'a>) -> Option<Self> {
        let root = region.get(region.root(Root::HeapInUse)?)?;
        Some(Self { region, root })
    }

    /// Reserves a place; `None`: there is no memory for another object.
    #[inline]
    pub fn reserve(&self) -> Option<Place> {
        let count = self.count();
        // The newest is the largest and the emptiest.
        for index in (0..count).rev() {
            let segment = self.at(index)?;
            if let Some(nth) = Segment::open(self.region, segment)?.reserve() {
                // Early: the others have room while one thread makes the next
                // segment, and if none can be made, that is known in time.
                // Everyone who gets a place of the last part tries, as the first
                // who did may have failed or never come to its end (a fork, a
                // longjmp).
                if index + 1 == count && nth.is_of_last_part {
                    self.grow();
                }
                return Some(Place { segment });
            }
        }
        // Nobody has made another segment in time, nor said that there is no
        // memory for one: from here on the samples must become fewer.
        // Relaxed: a hint.
        self.root.full.store(1, Ordering::Relaxed);
        None
    }

    /// Gives up a place that was not used.
    pub fn unreserve(&self, place: Place) {
        if let Some(segment) = Segment::open(self.region, place.segment) {
            segment.unreserve();
        }
    }

    /// Stores the object at `address` in the place reserved for it.
    #[inline]
    pub fn publish(&self, place: Place, address: usize, object: &Object) {
        if let Some(segment) = Segment::open(self.region, place.segment) {
            segment.publish(address as u64, object);
        }
    }

    /// Takes the object at `address` out; `None`: it is not here.
    #[inline]
    pub fn hold(&self, address: usize) -> Option<Held> {
        let address = address as u64;
        for index in (0..self.count()).rev() {
            let segment = self.at(index)?;
            if let Some((slot, object)) = Segment::open(self.region, segment)?.hold(address) {
                return Some(Held {
                    segment,
                    slot,
                    address,
                    object,
                });
            }
        }
        None
    }

    /// Lets go of an object that was taken out: its slot is free again.
    #[inline]
    pub fn release(&self, held: &Held) {
        if let Some(segment) = Segment::open(self.region, held.segment) {
            segment.release(held.slot);
        }
    }

    /// Puts back an object that was taken out.
    pub fn restore(&self, held: &Held) {
        if let Some(segment) = Segment::open(self.region, held.segment) {
            segment.restore(held.slot, held.address);
        }
    }

    /// Calls `visit` with every object that is in use all through the visit.
    pub fn for_each(&self, mut visit: impl FnMut(u64, Object)) {
        for segment in self.segments() {
            segment.for_each(&mut visit);
        }
    }

    /// Makes every object weigh nothing: in a fork's child they are the parent's.
    pub fn disown_all(&self) {
        self.segments().for_each(|segment| segment.disown_all());
        // Relaxed: whoever was making a segment is not in this process.
        self.root.growing.store(0, Ordering::Relaxed);
    }

    /// By how many powers of two the period is to be raised, for want of room.
    ///
    /// 0 as long as segments can be made. Then every halving of what is free
    /// raises it fourfold: what is left is always enough for as many bytes again
    /// as all that is recorded, however far the heap grows.
    #[must_use]
    pub fn thinning(&self) -> u32 {
        // Relaxed: figures.
        if self.root.full.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let (reserved, places) = self.load();
        let free = places.saturating_sub(reserved).max(1);
        // Half free or more: no thinning; a quarter: 2; an eighth: 4 …
        (places / free).max(1).ilog2().saturating_sub(1) * 2
    }

    /// Objects in use (and places reserved), and how many there is room for now.
    #[must_use]
    pub fn load(&self) -> (u64, u64) {
        self.segments().fold((0, 0), |(reserved, places), segment| {
            (reserved + segment.reserved(), places + segment.places())
        })
    }

    /// Walks everything while nobody else works here and says whether it holds
    /// together: no address twice, each within reach of its first slot, and a
    /// place reserved for each.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let mut taken = 0;
        for segment in self.segments() {
            match segment.taken() {
                Some(here) => taken += here,
                None => return false,
            }
        }
        let mut is_twice = false;
        self.for_each(|address, _| {
            let mut times = 0;
            self.for_each(|other, _| times += u32::from(other == address));
            is_twice |= times != 1;
        });
        !is_twice && taken <= self.load().0
    }

    fn count(&self) -> usize {
        // Acquire: pairs with the Release in `add_segment`; they are whole.
        (self.root.count.load(Ordering::Acquire) as usize).min(SEGMENTS)
    }

    fn segments(&self) -> impl Iterator<Item = Segment<'a>> {
        let count = self.count();
        (0..count).filter_map(|index| Segment::open(self.region, self.at(index)?))
    }

    /// Where one of those stands that were counted.
    fn at(&self, index: usize) -> Option<Offset> {
        // Relaxed: written before it was counted.
        Offset::from_raw(self.root.segments.get(index)?.load(Ordering::Relaxed))
    }

    /// Adds a segment, unless somebody else is at it.
    #[cold]
    fn grow(&self) {
        // Not a lock: nobody waits for it, who comes second goes without.
        // Acquire: pairs with the Release below; what the last one made is seen.
        if self
            .root
            .growing
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        let count = self.count();
        let mut slots = GROWN_SLOTS << count.min(20);
        let mut made = None;
        // Small arenas have room for small ones. With many, each look-up would be longer.
        let least = if count < SMALL_SEGMENTS {
            FIRST_SLOTS
        } else {
            GROWN_SLOTS
        };
        // Near the cap smaller ones still fit, and the table needs room too.
        while made.is_none() && slots >= least && count < SEGMENTS {
            let bytes = Segment::bytes(slots);
            if self.region.used_bytes() + 2 * bytes <= self.region.capacity_bytes() {
                made = self.add_segment(count, slots);
            }
            slots /= 2;
        }
        if made.is_none() {
            // Relaxed: a hint.
            self.root.full.store(1, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire above.
        self.root.growing.store(0, Ordering::Release);
    }

    fn add_segment(&self, index: usize, slots: usize) -> Option<()> {
        let at = Segment::create(self.region, slots)?;
        // Relaxed: published below.
        self.root
            .segments
            .get(index)?
            .store(at.raw(), Ordering::Relaxed);
        // Release: publishes the segment. Pairs with the Acquire in `count`.
        self.root
            .count
            .store(u32::try_from(index + 1).ok()?, Ordering::Release);
        Some(())
    }
}

impl NewRecord for InUseRoot {
    fn new_record() -> Self {
        Self {
            count: AtomicU32::new(0),
            growing: AtomicU32::new(0),
            full: AtomicU32::new(0),
            segments: [(); SEGMENTS].map(|()| AtomicU32::new(0)),
        }
    }
}
records!(InUseRoot);

#[cfg(all(test, not(everprof_loom)))]
mod tests;
