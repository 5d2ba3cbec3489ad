//! Segment: some slots for objects, found by their addresses.
//!
//! Context: sampled. No lock, no panic.
//! Invariant: who moves a key to BUSY owns the slot until the key is another. At most half
//! of the slots are reserved, so that whoever reserved finds a free one.
//!
//! ```text
//! key: 0 ──claim──→ BUSY ──publish──→ address ──hold──→ BUSY ──release──→ 0
//!                                        ↑───────restore──┘
//! ```
//!
//! Open addressing with linear probing. There are no tombstones: a look-up goes on over free
//! slots, as far as any insertion ever went (`reach`).

use super::FIRST_SLOTS;
use super::object::{Cell, Object};
use crate::arena::{NewRecord, Offset, Region, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

#[repr(C)]
#[derive(Debug)]
struct SegmentRecord {
    /// Number of slots, a power of two. This and the next are written once, before the
    /// segment is linked.
    count: AtomicU64,
    /// Where they stand.
    slots: AtomicU32,
    spare: AtomicU32,
    /// Places reserved. Written by every reservation and release.
    reserved: AtomicU64,
    /// How many slots the farthest insertion looked at. Only grows.
    reach: AtomicU64,
}

/// A place for an object. Key and cell stand together: who looks for one wants the other, and
/// both are seldom in the cache.
#[repr(C, align(16))]
#[derive(Debug)]
struct Slot {
    /// See the module head.
    key: AtomicU64,
    cell: Cell,
}

/// A segment, borrowed from its arena.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    record: &'a SegmentRecord,
    slots: &'a [Slot],
}

/// A place was reserved in a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    /// Three quarters of the segment's places were taken before; of the first's half, so
    /// that as many are left for those who come while the second is made.
    pub(super) is_of_last_part: bool,
}

impl<'a> Segment<'a> {
    /// Bytes that one of so many slots takes, about.
    pub(super) const fn bytes(slots: usize) -> usize {
        slots * size_of::<Slot>()
    }

    /// Makes one; the caller links it, with Release. `None`: no room.
    pub(super) fn create(region: Region<'_>, slots: usize) -> Option<Offset> {
        let first = region.alloc_array::<Slot>(slots)?;
        let at = region.alloc::<SegmentRecord>(0)?;
        let record = region.get::<SegmentRecord>(at)?;
        // Relaxed, both: published with the link.
        record.count.store(slots as u64, Ordering::Relaxed);
        record.slots.store(first.raw(), Ordering::Relaxed);
        Some(at)
    }

    /// The one that `create` made at `at`, whose link was read with Acquire.
    #[inline]
    pub(super) fn open(region: Region<'a>, at: Offset) -> Option<Self> {
        let record = region.get::<SegmentRecord>(at)?;
        // Relaxed, both: set before the segment was linked.
        let count = record.count.load(Ordering::Relaxed) as usize;
        if !count.is_power_of_two() {
            return None;
        }
        let slots = Offset::from_raw(record.slots.load(Ordering::Relaxed))?;
        Some(Self {
            record,
            slots: region.array(slots, count)?,
        })
    }

    /// How many objects may be reserved for: half of the slots, so that probing stays short.
    pub(super) fn places(&self) -> u64 {
        self.slots.len() as u64 / 2
    }

    /// For how many that was done.
    pub(super) fn reserved(&self) -> u64 {
        // Relaxed: a figure.
        self.record.reserved.load(Ordering::Relaxed)
    }

    /// Reserves a place.
    #[inline]
    pub(super) fn reserve(&self) -> Option<Reserved> {
        let places = self.places();
        // Relaxed: a count; the slots speak for themselves.
        let before = self.record.reserved.fetch_add(1, Ordering::Relaxed);
        if before < places {
            let last_part = if self.slots.len() == FIRST_SLOTS {
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

    /// Gives a place back.
    pub(super) fn unreserve(&self) {
        // Relaxed: a count; the slots speak for themselves.
        self.record.reserved.fetch_sub(1, Ordering::Relaxed);
    }

    /// Stores the object at `address` in a place that was reserved.
    #[inline]
    pub(super) fn publish(&self, address: u64, object: &Object) {
        let mask = self.slots.len() - 1;
        let start = slot_of(address, mask);
        // At most half of the slots are reserved: one round finds a free one,
        // unless others fill and empty them around it, and then the next does.
        for step in 0.. {
            let Some(Slot { key, cell }) = self.slots.get((start + step) & mask) else {
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
            fence(Ordering::Release);
            cell.write(object);
            // Relaxed, both: whoever looks for the address was given it, after this. Asked
            // first, as it nearly always says so.
            let reach = step as u64 + 1;
            if self.record.reach.load(Ordering::Relaxed) < reach {
                self.record.reach.fetch_max(reach, Ordering::Relaxed);
            }
            // Release: publishes the cell. Pairs with the Acquire in `hold`.
            key.store(address, Ordering::Release);
            return;
        }
    }

    /// Takes the object at `address` out, and the slot that it keeps; `None`: it is not here.
    #[inline]
    pub(super) fn hold(&self, address: u64) -> Option<(usize, Object)> {
        let mask = self.slots.len() - 1;
        let start = slot_of(address, mask);
        // Relaxed: at least what it was when `address` was inserted.
        let reach = self.record.reach.load(Ordering::Relaxed) as usize;
        for step in 0..reach.min(self.slots.len()) {
            let slot = (start + step) & mask;
            let Slot { key, cell } = self.slots.get(slot)?;
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
                return Some((slot, cell.read()?));
            }
        }
        None
    }

    /// Frees a slot that `hold` gave, and its place.
    #[inline]
    pub(super) fn release(&self, slot: usize) {
        if let Some(Slot { key, .. }) = self.slots.get(slot) {
            // Release: pairs with the Acquire of the next `publish` here.
            key.store(0, Ordering::Release);
        }
        self.unreserve();
    }

    /// Puts the object back that `hold` took out.
    pub(super) fn restore(&self, slot: usize, address: u64) {
        if let Some(Slot { key, .. }) = self.slots.get(slot) {
            // Release: as in `publish`; the cell was not touched meanwhile.
            key.store(address, Ordering::Release);
        }
    }

    /// Calls `visit` with every object that is in use all through the visit.
    ///
    /// An object that goes this moment, and whose address and slot the next sampled one is given
    /// before both looks are done, may be told as part of each: a figure that is wrong for
    /// once, where a number in each slot that changes would cost every sample.
    pub(super) fn for_each(&self, visit: &mut impl FnMut(u64, Object)) {
        for Slot { key, cell } in self.slots {
            // Acquire: pairs with the Release in `publish`.
            let address = key.load(Ordering::Acquire);
            if address <= BUSY {
                continue;
            }
            let object = cell.read();
            // The fence keeps the reads of the cell before the second look:
            // the slot was this object's from the first look to the second.
            fence(Ordering::Acquire);
            // Relaxed: compared only.
            if let (Some(object), true) = (object, key.load(Ordering::Relaxed) == address) {
                visit(address, object);
            }
        }
    }

    /// Makes every object weigh nothing, in a fork's child.
    pub(super) fn disown_all(&self) {
        for Slot { key, cell } in self.slots {
            // Relaxed: only one thread of the child is here.
            if key.load(Ordering::Relaxed) != 0 {
                cell.disown();
            }
        }
    }

    /// Slots that are taken, while nobody works here; `None`: some object is where no look-up
    /// comes.
    pub(super) fn taken(&self) -> Option<u64> {
        let mask = self.slots.len() - 1;
        // Relaxed, here and below: nobody else works here.
        let reach = self.record.reach.load(Ordering::Relaxed);
        let mut taken = 0;
        for (slot, Slot { key, .. }) in self.slots.iter().enumerate() {
            let address = key.load(Ordering::Relaxed);
            taken += u64::from(address != 0);
            let steps = slot.wrapping_sub(slot_of(address, mask)) & mask;
            if address > BUSY && steps as u64 >= reach {
                return None;
            }
        }
        Some(taken)
    }
}

/// Addresses are multiples of 8 or 16 and near one another; the product's upper
/// half depends on all their bits.
fn slot_of(address: u64, mask: usize) -> usize {
    // 2⁶⁴ ÷ golden ratio, odd (Knuth, TAOCP 6.4).
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask
}

/// No object stands there: the first page is never mapped.
const BUSY: u64 = 1;

impl NewRecord for SegmentRecord {
    fn new_record() -> Self {
        Self {
            count: AtomicU64::new(0),
            slots: AtomicU32::new(0),
            spare: AtomicU32::new(0),
            reserved: AtomicU64::new(0),
            reach: AtomicU64::new(0),
        }
    }
}

impl NewRecord for Slot {
    fn new_record() -> Self {
        Self {
            key: AtomicU64::new(0),
            cell: Cell::new_record(),
        }
    }
}
records!(SegmentRecord, Slot);

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Slot>() == 48);
