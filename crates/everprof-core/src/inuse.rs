//! In-use store: from the address of a sampled object to what it stands for.
//!
//! Context: sampled. No global allocator, no lock, no panic. Removal also works
//! in a signal handler, whatever it interrupted.
//! Invariant: an address stands in at most one slot. Whoever inserts it has just
//! been given it by the inner allocator, and whoever removes it gives it back
//! only afterwards, so no two threads insert one address at a time.
//!
//! Segments of slots, a small one and then each twice as large as the one before, open
//! addressing with linear probing in each:
//!
//! ```text
//! key: 0 ──claim──→ BUSY ──publish──→ address ──take──→ BUSY ──release──→ 0
//!                                        ↑───────restore──┘
//! ```
//!
//! A place is reserved (a count, at most half of a segment's slots) before the
//! object is allocated, so publishing always finds a free slot, and a sample that
//! was admitted is never lost. There are no tombstones: a look-up goes on over
//! free slots, as far as any insertion into that segment ever went.

use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::sampler::Weight;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A sampled object that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// The bucket of its allocation.
    pub bucket: Offset,
    /// What its free takes off; all zero for one inherited by fork.
    pub weight: Weight,
    /// How far into the inner block it stands.
    pub shift: usize,
    /// When it was allocated, by the clock of whoever records: nanoseconds of the coarse
    /// monotonic one, or a managed heap's cycle.
    pub born: u64,
}

/// What of an object stands beside its key. Written by whoever holds the slot as
/// BUSY; the key publishes it.
#[repr(C)]
#[derive(Debug)]
struct Cell {
    bucket: AtomicU32,
    /// 0, or one more than the shift's binary logarithm.
    shift: AtomicU32,
    size_bytes: AtomicU64,
    objects_q8: AtomicU64,
    bytes: AtomicU64,
    born: AtomicU64,
}

#[repr(C)]
#[derive(Debug)]
struct SegmentRecord {
    /// Number of slots, a power of two. This and the two below are written once,
    /// before the segment is linked.
    slots: AtomicU64,
    keys: AtomicU32,
    cells: AtomicU32,
    /// Places reserved. Written by every reservation and release.
    reserved: AtomicU64,
    /// How many slots the farthest insertion looked at. Only grows.
    reach: AtomicU64,
}

/// The store's own record.
#[repr(C)]
#[derive(Debug)]
pub struct InUseRoot {
    /// Written once each, by whoever holds `growing`; publishes the segment.
    segments: [AtomicU32; SEGMENTS],
    /// 1 while somebody makes a segment.
    growing: AtomicU32,
    /// 1 once a segment was needed and not made: for want of memory, or because
    /// whoever was at it never came to its end.
    full: AtomicU32,
}

/// The second has 1,024 slots and each twice as many, so that the 22nd would be larger
/// than the largest arena; the others are for the small ones made near the cap.
const SEGMENTS: usize = 24;

/// As many may be as small as the first.
const SMALL_SEGMENTS: usize = 4;

/// Two pages, of which a process with few samples touches one or both. With those of the
/// second segment each object would touch two of twelve.
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

/// No object stands there: the first page is never mapped.
const BUSY: u64 = 1;

/// A place for an object to come.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Place {
    segment: u32,
}

/// An object that was taken out and holds its slot until it is released or
/// restored.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Held {
    segment: u32,
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

#[derive(Clone, Copy)]
struct Segment<'a> {
    record: &'a SegmentRecord,
    keys: &'a [AtomicU64],
    cells: &'a [Cell],
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
    pub fn reserve(&self) -> Option<Place> {
        let count = self.count();
        // The newest is the largest and the emptiest.
        for index in (0..count).rev() {
            if let Some(nth) = self.segment(index).and_then(|segment| segment.reserve()) {
                // Early, so that while one thread makes the next segment the
                // others have room, and that it is known in time when there is
                // no more to be had.
                // Each of the last part tries: the first may have failed, or not
                // have come to its end (a fork, a longjmp).
                if index + 1 == count && nth.is_of_last_part {
                    self.grow();
                }
                return Some(Place {
                    segment: u32::try_from(index).ok()?,
                });
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
        if let Some(segment) = self.segment(place.segment as usize) {
            // Relaxed: a count; the slots speak for themselves.
            segment.record.reserved.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Stores the object at `address` in the place reserved for it.
    pub fn publish(&self, place: Place, address: usize, object: &Object) {
        let Some(segment) = self.segment(place.segment as usize) else {
            return;
        };
        let address = address as u64;
        let mask = segment.keys.len() - 1;
        let start = slot_of(address, mask);
        // At most half of the slots are reserved: one round finds a free one,
        // unless others fill and empty them around it, and then the next does.
        for step in 0.. {
            let slot = (start + step) & mask;
            let (Some(key), Some(cell)) = (segment.keys.get(slot), segment.cells.get(slot)) else {
                return;
            };
            // Relaxed on failure: the slot is another's. Acquire: pairs with the
            // Release that freed it, so that the old contents are gone.
            if key.load(Ordering::Relaxed) != 0
                || key
                    .compare_exchange(0, BUSY, Ordering::Acquire, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            // Keeps the claim before the writes: pairs with the fence in
            // `for_each`, whose second look at the key sees the claim if its
            // look at the cell saw any of them.
            crate::sync::fence(Ordering::Release);
            cell.write(object);
            // Relaxed: whoever looks for the address was given it, after this.
            segment
                .record
                .reach
                .fetch_max(step as u64 + 1, Ordering::Relaxed);
            // Release: publishes the cell. Pairs with the Acquire in `hold`.
            key.store(address, Ordering::Release);
            return;
        }
    }

    /// Takes the object at `address` out; `None`: it is not here.
    pub fn hold(&self, address: usize) -> Option<Held> {
        let address = address as u64;
        for index in (0..self.count()).rev() {
            let Some(segment) = self.segment(index) else {
                continue;
            };
            let mask = segment.keys.len() - 1;
            let start = slot_of(address, mask);
            // Relaxed: at least what it was when `address` was inserted.
            let reach = segment.record.reach.load(Ordering::Relaxed) as usize;
            for step in 0..reach.min(segment.keys.len()) {
                let slot = (start + step) & mask;
                let key = segment.keys.get(slot)?;
                // Relaxed: compared only.
                if key.load(Ordering::Relaxed) != address {
                    continue;
                }
                // Acquire: pairs with the Release in `publish`; the cell is
                // whole. A swap, not a store, so that an address that the
                // program frees twice is taken once.
                if key
                    .compare_exchange(address, BUSY, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    let object = segment.cells.get(slot)?.read()?;
                    let segment = u32::try_from(index).ok()?;
                    return Some(Held {
                        segment,
                        slot,
                        address,
                        object,
                    });
                }
            }
        }
        None
    }

    /// Lets go of an object that was taken out: its slot is free again.
    pub fn release(&self, held: &Held) {
        if let Some(segment) = self.segment(held.segment as usize) {
            if let Some(key) = segment.keys.get(held.slot) {
                // Release: pairs with the Acquire of the next `publish` here.
                key.store(0, Ordering::Release);
            }
            // Relaxed: a count.
            segment.record.reserved.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Puts back an object that was taken out.
    pub fn restore(&self, held: &Held) {
        if let Some(key) = self
            .segment(held.segment as usize)
            .and_then(|segment| segment.keys.get(held.slot))
        {
            // Release: as in `publish`; the cell was not touched meanwhile.
            key.store(held.address, Ordering::Release);
        }
    }

    /// Calls `visit` with every object that is in use all through the visit.
    pub fn for_each(&self, mut visit: impl FnMut(u64, Object)) {
        for segment in (0..self.count()).filter_map(|index| self.segment(index)) {
            for (key, cell) in segment.keys.iter().zip(segment.cells) {
                // Acquire: pairs with the Release in `publish`.
                let address = key.load(Ordering::Acquire);
                if address <= BUSY {
                    continue;
                }
                let object = cell.read();
                // The fence keeps the reads of the cell before the second look:
                // the slot was this object's from the first look to the second.
                crate::sync::fence(Ordering::Acquire);
                // Relaxed: compared only.
                if let (Some(object), true) = (object, key.load(Ordering::Relaxed) == address) {
                    visit(address, object);
                }
            }
        }
    }

    /// Makes every object weigh nothing: in a fork's child they are the parent's.
    pub fn disown_all(&self) {
        for segment in (0..self.count()).filter_map(|index| self.segment(index)) {
            for (key, cell) in segment.keys.iter().zip(segment.cells) {
                // Relaxed, all: only one thread of the child is here.
                if key.load(Ordering::Relaxed) != 0 {
                    cell.size_bytes.store(0, Ordering::Relaxed);
                    cell.objects_q8.store(0, Ordering::Relaxed);
                    cell.bytes.store(0, Ordering::Relaxed);
                }
            }
        }
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
        let segments = (0..self.count()).filter_map(|index| self.segment(index));
        segments.fold((0, 0), |(reserved, places), segment| {
            // Relaxed: figures.
            (
                reserved + segment.record.reserved.load(Ordering::Relaxed),
                places + segment.keys.len() as u64 / 2,
            )
        })
    }

    /// Walks everything while nobody else works here and says whether it holds
    /// together: no address twice, each within reach of its first slot, and a
    /// place reserved for each.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let mut objects = 0;
        for segment in (0..self.count()).filter_map(|index| self.segment(index)) {
            let mask = segment.keys.len() - 1;
            // Relaxed, here and below: nobody else works here.
            let reach = segment.record.reach.load(Ordering::Relaxed);
            for (slot, key) in segment.keys.iter().enumerate() {
                let address = key.load(Ordering::Relaxed);
                objects += u64::from(address != 0);
                if address <= BUSY {
                    continue;
                }
                let steps = slot.wrapping_sub(slot_of(address, mask)) & mask;
                let mut times = 0;
                self.for_each(|other, _| times += u32::from(other == address));
                if times != 1 || steps as u64 >= reach {
                    return false;
                }
            }
        }
        objects <= self.load().0
    }

    fn count(&self) -> usize {
        // Acquire, and in `segment`: pairs with the Release that linked it.
        self.root
            .segments
            .iter()
            .take_while(|segment| segment.load(Ordering::Acquire) != 0)
            .count()
    }

    fn segment(&self, index: usize) -> Option<Segment<'a>> {
        let raw = self.root.segments.get(index)?.load(Ordering::Acquire);
        let record = self.region.get::<SegmentRecord>(Offset::from_raw(raw)?)?;
        // Relaxed, all three: set before the segment was linked.
        let slots = record.slots.load(Ordering::Relaxed) as usize;
        if !slots.is_power_of_two() {
            return None;
        }
        let keys = Offset::from_raw(record.keys.load(Ordering::Relaxed))?;
        let cells = Offset::from_raw(record.cells.load(Ordering::Relaxed))?;
        Some(Segment {
            record,
            keys: self.region.array(keys, slots)?,
            cells: self.region.array(cells, slots)?,
        })
    }

    /// Adds a segment, unless somebody else is at it.
    #[cold]
    fn grow(&self) {
        // Acquire: pairs with the Release below; what the last one made is seen.
        // Not a lock that anybody waits for: who comes second goes without.
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
            let bytes = slots * (size_of::<AtomicU64>() + size_of::<Cell>());
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
        let keys = self.region.alloc_array::<AtomicU64>(slots)?;
        let cells = self.region.alloc_array::<Cell>(slots)?;
        let at = self.region.alloc::<SegmentRecord>(0)?;
        let record = self.region.get::<SegmentRecord>(at)?;
        // Relaxed, all three: published with the link below.
        record.slots.store(slots as u64, Ordering::Relaxed);
        record.keys.store(keys.raw(), Ordering::Relaxed);
        record.cells.store(cells.raw(), Ordering::Relaxed);
        // Release: publishes the segment. Pairs with the Acquire in `segment`.
        self.root
            .segments
            .get(index)?
            .store(at.raw(), Ordering::Release);
        Some(())
    }
}

/// A place was reserved in a segment.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    /// Three quarters of the segment's places were taken before; of the first's half, so
    /// that as many are left for those who come while the second is made.
    is_of_last_part: bool,
}

impl Segment<'_> {
    /// Reserves one of half the slots, so that probing stays short.
    fn reserve(&self) -> Option<Reserved> {
        let places = self.keys.len() as u64 / 2;
        // Relaxed: a count; the slots speak for themselves.
        let before = self.record.reserved.fetch_add(1, Ordering::Relaxed);
        if before < places {
            let last_part = if self.keys.len() == FIRST_SLOTS {
                places / 2
            } else {
                places * 3 / 4
            };
            return Some(Reserved {
                is_of_last_part: before >= last_part,
            });
        }
        self.record.reserved.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Cell {
    // Relaxed throughout: a cell is published by its key.
    fn write(&self, object: &Object) {
        let shift = object.shift.checked_ilog2().map_or(0, |log| log + 1);
        self.bucket.store(object.bucket.raw(), Ordering::Relaxed);
        self.shift.store(shift, Ordering::Relaxed);
        self.size_bytes
            .store(object.weight.size_bytes, Ordering::Relaxed);
        self.objects_q8
            .store(object.weight.objects_q8, Ordering::Relaxed);
        self.bytes.store(object.weight.bytes, Ordering::Relaxed);
        self.born.store(object.born, Ordering::Relaxed);
    }

    fn read(&self) -> Option<Object> {
        let shift = self.shift.load(Ordering::Relaxed);
        Some(Object {
            bucket: Offset::from_raw(self.bucket.load(Ordering::Relaxed))?,
            weight: Weight {
                size_bytes: self.size_bytes.load(Ordering::Relaxed),
                objects_q8: self.objects_q8.load(Ordering::Relaxed),
                bytes: self.bytes.load(Ordering::Relaxed),
            },
            shift: if shift == 0 {
                0
            } else {
                1usize.checked_shl(shift - 1)?
            },
            born: self.born.load(Ordering::Relaxed),
        })
    }
}

/// Addresses are multiples of 8 or 16 and near one another; the product's upper
/// half depends on all their bits.
fn slot_of(address: u64, mask: usize) -> usize {
    // 2⁶⁴ ÷ golden ratio, odd (Knuth, TAOCP 6.4).
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask
}

impl NewRecord for Cell {
    fn new_record() -> Self {
        Self {
            bucket: AtomicU32::new(0),
            shift: AtomicU32::new(0),
            size_bytes: AtomicU64::new(0),
            objects_q8: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            born: AtomicU64::new(0),
        }
    }
}

impl NewRecord for SegmentRecord {
    fn new_record() -> Self {
        Self {
            slots: AtomicU64::new(0),
            keys: AtomicU32::new(0),
            cells: AtomicU32::new(0),
            reserved: AtomicU64::new(0),
            reach: AtomicU64::new(0),
        }
    }
}

impl NewRecord for InUseRoot {
    fn new_record() -> Self {
        Self {
            segments: [(); SEGMENTS].map(|()| AtomicU32::new(0)),
            growing: AtomicU32::new(0),
            full: AtomicU32::new(0),
        }
    }
}
records!(Cell, SegmentRecord, InUseRoot);

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Cell>() == 40);

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arena::Arena;
    use std::collections::HashMap;

    fn object(n: u64) -> Object {
        Object {
            bucket: Offset::from_raw(9).unwrap(),
            weight: Weight {
                size_bytes: n,
                objects_q8: 256 + n,
                bytes: 2 * n,
            },
            shift: [0, 8, 16, 4096][n as usize % 4],
            born: n,
        }
    }

    #[test]
    fn objects_come_back_as_they_were_stored() {
        let arena = Arena::anonymous(8 << 20).unwrap();
        let store = InUse::create(arena.region()).unwrap();
        let mut model = HashMap::new();
        let count = if cfg!(miri) { 50 } else { 5000 };
        for n in 0..count {
            let address = 0x7000_0000_0008 + n as usize * 48;
            store.publish(store.reserve().unwrap(), address, &object(n));
            model.insert(address, object(n));
            if n % 3 == 0 {
                let gone = 0x7000_0000_0008 + (n / 2) as usize * 48;
                let held = store.hold(gone);
                assert_eq!(held.map(|held| held.object), model.remove(&gone));
                if let Some(held) = held {
                    assert!(store.hold(gone).is_none(), "a held object is nobody else's");
                    store.release(&held);
                }
            }
        }
        assert_eq!(store.load().0 as usize, model.len());
        let mut seen = 0;
        store.for_each(|address, object| {
            seen += 1;
            assert_eq!(model[&(address as usize)], object);
        });
        assert_eq!(seen, model.len());
        assert!(store.hold(12345).is_none());
    }

    #[test]
    fn restored_object_is_found_again() {
        let arena = Arena::anonymous(1 << 20).unwrap();
        let store = InUse::create(arena.region()).unwrap();
        store.publish(store.reserve().unwrap(), 4096, &object(1));
        let held = store.hold(4096).unwrap();
        store.restore(&held);
        store.release(&store.hold(4096).unwrap());
        assert!(store.hold(4096).is_none());
        assert_eq!(store.load().0, 0);
    }

    // Under Miri so many places take hours.
    #[cfg(not(miri))]
    #[test]
    fn thinning_rises_as_room_runs_out_and_falls_with_it() {
        let arena = Arena::anonymous(1 << 20).unwrap();
        let store = InUse::create(arena.region()).unwrap();
        let mut last = 0;
        let mut places = Vec::new();
        while let Some(place) = store.reserve() {
            places.push(place);
            let thinning = store.thinning();
            assert!(thinning >= last, "{thinning} after {last}");
            last = thinning;
        }
        assert!(last >= 16, "{last}");
        for place in places {
            store.unreserve(place);
        }
        assert_eq!(store.thinning(), 0);
    }

    /// As after a fork, or a longjmp, in the middle of making a segment.
    #[test]
    fn segment_that_was_never_finished_is_made_or_thinned_for() {
        let arena = Arena::anonymous(1 << 20).unwrap();
        let store = InUse::create(arena.region()).unwrap();
        store.root.growing.store(1, Ordering::Relaxed);
        let taken = (0..FIRST_SLOTS / 2 - 1)
            .filter(|_| store.reserve().is_some())
            .count();
        assert_eq!((taken, store.count()), (FIRST_SLOTS / 2 - 1, 1));
        store.disown_all();
        assert!(store.reserve().is_some());
        assert_eq!(store.count(), 2, "the child makes it itself");
        store.root.growing.store(1, Ordering::Relaxed);
        while store.reserve().is_some() {}
        assert!(store.thinning() > 0);
    }

    #[test]
    fn threads_may_insert_and_remove_at_once() {
        let arena = Arena::anonymous(16 << 20).unwrap();
        let store = InUse::create(arena.region()).unwrap();
        // Room for all of them beforehand, as nobody waits for one who makes more.
        let places: Vec<Place> = (0..8).map(|_| store.reserve().unwrap()).collect();
        places.into_iter().for_each(|place| store.unreserve(place));
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                scope.spawn(move || {
                    for n in 0..rounds {
                        let address = 16 * (1 + thread + 4 * (n % 97));
                        store.publish(store.reserve().unwrap(), address, &object(n as u64));
                        let held = store.hold(address).unwrap();
                        assert_eq!(held.object, object(n as u64));
                        store.release(&held);
                    }
                });
            }
        });
        assert_eq!(store.load().0, 0);
    }
}
