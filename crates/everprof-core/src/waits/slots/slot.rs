//! Slot: one wait, while it lasts, for others to read.
//!
//! Context: sampled; reading is cold. No lock, no panic.
//! Invariant: a slot's fields are written only by whoever moved its sequence from
//! free to filling; readers believe them only if the sequence says busy before and
//! after, and is the same. The sequence only grows.
//!
//! ```text
//! sequence mod 4:  0 free ──claim──→ 1 filling ──publish──→ 2 busy ──leave──→ 4 = free
//!                   ↑ another thread, or this one         │
//!                   └────── take back, reap ──────────────┘
//! ```
//!
//! What a thread waits for can change while it sleeps (requeueing), so it stands in one
//! word, `place`: the number of the address' record plus 1, and since when. Whoever
//! takes that word out tells the record that the waiter left. Two can only want to where
//! somebody requeues, which hardly any program does: until the first time the word is
//! taken out without a swap. That first time therefore only says so, and moves nobody.
//! (A thread that was held up within its last look at the slot from before the first
//! requeue to the second may leave twice: that closes the record to all addresses.)

use super::super::Wait;
use super::super::word::Units;
use crate::arena::{NewRecord, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// One wait.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Slot {
    /// See the module's head. Publishes all of the others.
    pub(super) sequence: AtomicU64,
    /// The stack pointer of the wait, for taking it back; the highest number while its
    /// thread leaves.
    pub(super) frame: AtomicU64,
    /// Where the thread waits. Written as [`Place`]; taken out by swaps.
    place: AtomicU64,
    address: AtomicU64,
    since_nanos: AtomicU64,
    registers: [AtomicU64; 4],
    pub(super) tid: AtomicU32,
    /// The operation in the low byte, and [`TIMED`].
    what: AtomicU32,
    labels: AtomicU32,
    /// The slot of the wait that this one interrupted; 0: none.
    pub(super) outer: AtomicU32,
    spare: [AtomicU64; 5],
}

/// What a slot says of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// The thread as the kernel knows it.
    pub tid: u32,
    /// The operation's number in the low byte, and whether it is timed.
    pub what: u32,
    /// What it waits for; 0: nothing that has an address.
    pub address: u64,
    /// Since when, on the monotonic clock.
    pub since_nanos: u64,
    /// The label set in force.
    pub labels: u32,
    /// pc, sp, fp and lr of the frame that waits.
    pub registers: [u64; 4],
}

/// Which record of an address counts a waiter, and since when: the number of the record
/// plus 1 in the low 16 bits, the time in the others. 0: none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

/// A slot that was claimed, and for which wait.
#[derive(Clone, Copy, Debug)]
pub struct Claimed<'a> {
    pub(super) slot: &'a Slot,
    /// 1: places may be moved.
    pub(super) moves: &'a AtomicU32,
    /// Where the slot stands.
    pub(super) at: u32,
    /// The slot of the wait that this one interrupted; 0: none.
    pub(super) outer: u32,
    /// The sequence while the slot is busy with this wait.
    pub(super) busy: u64,
}

impl Place {
    /// None.
    pub const NONE: Self = Self(0);

    /// In the record of that number, since `start`.
    #[must_use]
    pub fn new(record: u16, start: Units) -> Self {
        Self(start.0 << 16 | (u64::from(record) + 1))
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn record(self) -> u16 {
        (self.0 & 0xffff).wrapping_sub(1) as u16
    }

    pub(crate) fn start(self) -> Units {
        Units(self.0 >> 16)
    }
}

impl Claimed<'_> {
    /// What the thread remembers while the slot is its own.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.at
    }

    /// What it remembers then.
    pub(crate) fn slot_after(&self) -> u32 {
        if self.outer == 0 { self.at } else { self.outer }
    }

    /// Says what the slot's wait is, and shows it to readers.
    #[inline]
    pub fn publish(&self, entry: &Entry, place: Place) {
        let slot = self.slot;
        // Relaxed, all to the last: published by the sequence below; the fence of
        // `try_claim` keeps them from being seen with the sequence before.
        slot.place.store(place.0, Ordering::Relaxed);
        slot.address.store(entry.address, Ordering::Relaxed);
        slot.since_nanos.store(entry.since_nanos, Ordering::Relaxed);
        for (cell, value) in slot.registers.iter().zip(entry.registers) {
            cell.store(value, Ordering::Relaxed);
        }
        slot.tid.store(entry.tid, Ordering::Relaxed);
        slot.what.store(entry.what, Ordering::Relaxed);
        slot.labels.store(entry.labels, Ordering::Relaxed);
        slot.outer.store(self.outer, Ordering::Relaxed);
        let [_, sp, ..] = entry.registers;
        slot.frame.store(sp, Ordering::Relaxed);
        // Release: publishes the above. Pairs with the Acquire in `read`.
        slot.sequence.store(self.busy, Ordering::Release);
    }

    /// The wait is over. Where its waiter was counted, if it still is: a slot that is
    /// not this wait's any more was taken by somebody who has seen to that.
    #[inline]
    pub fn leave(&self) -> Place {
        let slot = self.slot;
        // First: from here to the end no handler takes the slot back, so that nobody
        // but this thread writes the sequence and a plain store will do. A handler is
        // on this thread and sees stores in order. Relaxed: nobody else looks at it.
        slot.frame.store(u64::MAX, Ordering::Relaxed);
        compiler_fence();
        // Relaxed: this thread wrote it.
        if slot.sequence.load(Ordering::Relaxed) != self.busy {
            return Place::NONE;
        }
        // Relaxed, both: as long as nobody moves places they are this thread's own.
        let place = if self.moves.load(Ordering::Relaxed) == 0 {
            Place(slot.place.load(Ordering::Relaxed))
        } else {
            slot.take_place()
        };
        // Release: what was read and written of the slot stays before; pairs with the
        // Acquire in `try_claim`.
        slot.sequence
            .store(self.busy.wrapping_add(2), Ordering::Release);
        place
    }
}

impl Slot {
    /// The sequence of the wait to come, if the slot was free.
    #[inline]
    pub(super) fn try_claim(&self) -> Option<u64> {
        // Relaxed: looked at again by the swap.
        let sequence = self.sequence.load(Ordering::Relaxed);
        if state(sequence) != FREE {
            return None;
        }
        let filling = sequence.wrapping_add(1);
        // Acquire: pairs with the Release in `leave` and `free`.
        self.sequence
            .compare_exchange(sequence, filling, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        // Release: the stores to come are seen after the sequence. Pairs with the
        // Acquire fence in `read`.
        fence(Ordering::Release);
        Some(sequence.wrapping_add(2))
    }

    /// Frees a busy slot for whoever left it.
    pub(super) fn free(&self, sequence: u64) -> Place {
        // Filling, so that nobody claims it before the place is taken out. AcqRel: as in
        // `try_claim` and `leave`.
        let filling = self.sequence.compare_exchange(
            sequence,
            sequence.wrapping_add(3),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if filling.is_err() {
            return Place::NONE;
        }
        let place = self.take_place();
        // Release: as in `leave`.
        self.sequence
            .store(sequence.wrapping_add(6), Ordering::Release);
        place
    }

    #[cold]
    fn take_place(&self) -> Place {
        // Acquire: pairs with the Release in `move_to`.
        Place(self.place.swap(0, Ordering::Acquire))
    }

    /// The wait that it is busy with, if it is the same one all through the reading.
    pub(super) fn read(&self) -> Option<Seen<'_>> {
        // Acquire: pairs with the Release in `publish`.
        let sequence = self.sequence.load(Ordering::Acquire);
        if state(sequence) != BUSY {
            return None;
        }
        // Relaxed, all: the sequence is looked at again behind the fence.
        let mut registers = [0; 4];
        for (value, cell) in registers.iter_mut().zip(&self.registers) {
            *value = cell.load(Ordering::Relaxed);
        }
        let entry = Entry {
            tid: self.tid.load(Ordering::Relaxed),
            what: self.what.load(Ordering::Relaxed),
            address: self.address.load(Ordering::Relaxed),
            since_nanos: self.since_nanos.load(Ordering::Relaxed),
            labels: self.labels.load(Ordering::Relaxed),
            registers,
        };
        let place = Place(self.place.load(Ordering::Relaxed));
        // Acquire: pairs with the Release fence in `try_claim`: had a field been written
        // for a later wait, the sequence would be another.
        fence(Ordering::Acquire);
        let same = self.sequence.load(Ordering::Relaxed) == sequence;
        same.then_some(Seen {
            slot: self,
            sequence,
            entry,
            place,
        })
    }

    /// Nobody waits here: in a fork's child, where only one thread is.
    pub(super) fn reset(&self) {
        // Relaxed, all: nobody else is here.
        let sequence = self.sequence.load(Ordering::Relaxed);
        let free = sequence.wrapping_add(3) & !3;
        self.sequence.store(free, Ordering::Relaxed);
        self.place.store(0, Ordering::Relaxed);
    }
}

/// A wait as it was read, and the slot it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    slot: &'a Slot,
    sequence: u64,
    /// What the slot said.
    pub entry: Entry,
    /// Where its waiter is counted.
    pub place: Place,
}

impl Seen<'_> {
    /// Whether the slot holds the same wait now.
    #[must_use]
    pub fn is_still_there(&self) -> bool {
        // Acquire: what its thread did before it came to wait is seen by who reads its stack.
        // Pairs with the Release in `publish`.
        self.slot.sequence.load(Ordering::Acquire) == self.sequence
    }

    /// The wait's thread is gone: frees the slot. Where it was counted, if it was.
    pub fn reap(&self) -> Place {
        self.slot.free(self.sequence)
    }

    /// The waiter waits elsewhere now. False: it left, or was moved, meanwhile.
    pub fn move_to(&self, place: Place) -> bool {
        // One that is taken out already stays so.
        if self.place.is_none() {
            return false;
        }
        // Release: whoever takes the place out comes after the waiter was counted
        // there; pairs with the Acquire in `take_place`. A wait for the same address
        // in the same slot that began in the same 16 ns cannot be another one.
        self.slot
            .place
            .compare_exchange(self.place.0, place.0, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }
}

/// What a wait is, in [`Entry::what`] and in the keys of buckets.
#[inline(always)]
pub(crate) fn what(wait: &Wait) -> u32 {
    wait.operation as u32 | if wait.timed { TIMED } else { 0 }
}

/// Orders stores as a handler on this thread sees them.
#[inline(always)]
fn compiler_fence() {
    #[cfg(not(everprof_loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

pub(super) fn state(sequence: u64) -> u64 {
    sequence & 3
}

const FREE: u64 = 0;
pub(super) const FILLING: u64 = 1;
pub(super) const BUSY: u64 = 2;

/// In [`Entry::what`].
pub(crate) const TIMED: u32 = 1 << 8;

impl NewRecord for Slot {
    fn new_record() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            frame: AtomicU64::new(0),
            place: AtomicU64::new(0),
            address: AtomicU64::new(0),
            since_nanos: AtomicU64::new(0),
            registers: [(); 4].map(|()| AtomicU64::new(0)),
            tid: AtomicU32::new(0),
            what: AtomicU32::new(0),
            labels: AtomicU32::new(0),
            outer: AtomicU32::new(0),
            spare: [(); 5].map(|()| AtomicU64::new(0)),
        }
    }
}
records!(Slot);

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Slot>() == 128);
