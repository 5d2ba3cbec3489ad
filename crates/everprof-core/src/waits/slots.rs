//! Slots: who waits now, for what, since when, and where their stacks are.
//!
//! Context: sampled; `for_each` is cold. No lock, no panic.
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
//! A slot is claimed for a wait, not for a thread: a thread's end needs no destructor.
//! The thread remembers its last slot and finds it free most times. A wait within a
//! wait (a handler's) claims another, whose `outer` names the first.
//!
//! A wait that was left by `longjmp` or forced unwinding leaves its slot busy. Its
//! thread takes it back at its next wait, if that stands at the slot's frame or above
//! it: frames there are gone. (On another signal stack that may be wrong, and a wait
//! be forgotten that is under way; it then finds its sequence gone and does nothing.)
//! Slots of threads that are gone are reaped by readers.
//!
//! What a thread waits for can change while it sleeps (requeueing), so it stands in one
//! word, `place`: the number of the address' record plus 1, and since when. Whoever
//! takes that word out tells the record that the waiter left. Two can only want to where
//! somebody requeues, which hardly any program does: until the first time the word is
//! taken out without a swap. That first time therefore only says so, and moves nobody.
//! (A thread that was held up within its last look at the slot from before the first
//! requeue to the second may leave twice: that closes the record to all addresses.)

use super::Wait;
use super::word::Units;
use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// One wait.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Slot {
    /// See the module's head. Publishes all of the others.
    sequence: AtomicU64,
    /// The stack pointer of the wait, for taking it back; the highest number while its
    /// thread leaves.
    frame: AtomicU64,
    /// Where the thread waits. Written as [`Place`]; taken out by swaps.
    place: AtomicU64,
    address: AtomicU64,
    since_nanos: AtomicU64,
    registers: [AtomicU64; 4],
    tid: AtomicU32,
    /// The operation in the low byte, and [`TIMED`].
    what: AtomicU32,
    labels: AtomicU32,
    /// The slot of the wait that this one interrupted; 0: none.
    outer: AtomicU32,
    spare: [AtomicU64; 5],
}

/// The slots' own record.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct SlotsRoot {
    /// Segment k has `FIRST_SLOTS << k` slots. 0: not made; [`GROWING`].
    segments: [AtomicU32; SEGMENTS],
    /// 1: places may be moved. Written by the first requeue.
    moves: AtomicU32,
    spare: AtomicU32,
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
    slot: &'a Slot,
    root: &'a SlotsRoot,
    /// Where the slot stands.
    at: u32,
    /// The slot of the wait that this one interrupted; 0: none.
    outer: u32,
    /// The sequence while the slot is busy with this wait.
    busy: u64,
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
        let place = if self.root.moves.load(Ordering::Relaxed) == 0 {
            Place(slot.place.load(Ordering::Relaxed))
        } else {
            take_place(slot)
        };
        // Release: what was read and written of the slot stays before; pairs with the
        // Acquire in `try_claim`.
        slot.sequence
            .store(self.busy.wrapping_add(2), Ordering::Release);
        place
    }
}

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

impl NewRecord for SlotsRoot {
    fn new_record() -> Self {
        Self {
            segments: [(); SEGMENTS].map(|()| AtomicU32::new(0)),
            moves: AtomicU32::new(0),
            spare: AtomicU32::new(0),
        }
    }
}
records!(Slot, SlotsRoot);

/// All slots, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'a> {
    region: Region<'a>,
    root: &'a SlotsRoot,
}

impl<'a> Slots<'a> {
    /// Makes them, with no segment yet. `None`: no room.
    #[must_use]
    pub fn create(region: Region<'a>) -> Option<Self> {
        let at = region.alloc::<SlotsRoot>(0)?;
        region.set_root(Root::WaitSlots, at)?;
        Self::open(region)
    }

    /// Those that `create` made in this arena.
    #[must_use]
    #[inline]
    pub fn open(region: Region<'a>) -> Option<Self> {
        let root = region.get(region.root(Root::WaitSlots)?)?;
        Some(Self { region, root })
    }

    /// Claims a slot for a wait of thread `tid` at `sp`, preferably the one that the
    /// thread had last, `cached`. Waits of the thread that were left are told to
    /// `left`. `None`: there is no room.
    #[inline]
    pub fn claim(
        &self,
        cached: u32,
        tid: u32,
        sp: u64,
        left: impl FnMut(Place),
    ) -> Option<Claimed<'a>> {
        if let Some(at) = Offset::from_raw(cached)
            && let Some(slot) = self.region.get::<Slot>(at)
            && let Some(busy) = try_claim(slot)
        {
            return Some(self.claimed(slot, cached, busy));
        }
        self.claim_another(cached, tid, sp, left)
    }

    /// As `claim`, where the cached slot is not free: another thread's, or a wait's of
    /// this thread that is under way or was left.
    #[cold]
    fn claim_another(
        &self,
        cached: u32,
        tid: u32,
        sp: u64,
        mut left: impl FnMut(Place),
    ) -> Option<Claimed<'a>> {
        let mut outer = cached;
        // More waits do not interrupt one another.
        for _ in 0..MOST_NESTED {
            let Some(at) = Offset::from_raw(outer) else {
                break;
            };
            let slot = self.region.get::<Slot>(at)?;
            // Relaxed, all: this thread wrote them if it is its slot at all.
            let sequence = slot.sequence.load(Ordering::Relaxed);
            if slot.tid.load(Ordering::Relaxed) != tid || state(sequence) != BUSY {
                outer = if state(sequence) == FILLING { outer } else { 0 };
                break;
            }
            if sp < slot.frame.load(Ordering::Relaxed) {
                break;
            }
            let next = slot.outer.load(Ordering::Relaxed);
            let place = free(slot, sequence);
            if !place.is_none() {
                left(place);
            }
            outer = next;
        }
        let claimed = self.find_free(tid)?;
        Some(Claimed { outer, ..claimed })
    }

    /// Whether places may be moved from now on; not for the first who asks.
    #[cold]
    pub fn may_move(&self) -> bool {
        // Relaxed: see the module's head for who is late.
        self.root.moves.swap(1, Ordering::Relaxed) != 0
    }

    /// Calls `visit` with each wait there is. Cold.
    pub fn for_each(&self, mut visit: impl FnMut(Seen<'a>)) {
        for slot in self.all() {
            if let Some(seen) = read(slot) {
                visit(seen);
            }
        }
    }

    /// Nobody waits: in a fork's child, where only one thread is. Waits that were
    /// under way in the parent, even this thread's own, find their slots gone.
    pub(crate) fn reset(&self) {
        for segment in &self.root.segments {
            // Relaxed, all: only one thread is here.
            if segment.load(Ordering::Relaxed) == GROWING {
                segment.store(0, Ordering::Relaxed);
            }
        }
        for slot in self.all() {
            let sequence = slot.sequence.load(Ordering::Relaxed);
            let free = sequence.wrapping_add(3) & !3;
            slot.sequence.store(free, Ordering::Relaxed);
            slot.place.store(0, Ordering::Relaxed);
        }
    }

    fn all(&self) -> impl Iterator<Item = &'a Slot> + use<'a> {
        let slots = *self;
        (0..SEGMENTS)
            .filter_map(move |index| slots.segment(index))
            .flatten()
    }

    fn segment(&self, index: usize) -> Option<&'a [Slot]> {
        // Acquire: pairs with the Release in `grow`.
        let raw = self.root.segments.get(index)?.load(Ordering::Acquire);
        if raw == GROWING {
            return None;
        }
        self.region
            .array(Offset::from_raw(raw)?, FIRST_SLOTS << index)
    }

    /// A free slot where few others look: by the thread's number, in the largest
    /// segment first.
    fn find_free(&self, tid: u32) -> Option<Claimed<'a>> {
        let start = tid.wrapping_mul(0x9e37_79b9) as usize >> 4;
        // Twice: what is found full is looked at again after growing.
        for _ in 0..2 {
            for index in (0..SEGMENTS).rev() {
                let Some(slots) = self.segment(index) else {
                    continue;
                };
                for step in 0..slots.len().min(WINDOW) {
                    let at = start.wrapping_add(step) & (slots.len() - 1);
                    let slot = slots.get(at)?;
                    if let Some(busy) = try_claim(slot) {
                        let at = self.offset_of(index, at)?.raw();
                        return Some(self.claimed(slot, at, busy));
                    }
                }
            }
            self.grow()?;
        }
        None
    }

    #[inline]
    fn claimed(&self, slot: &'a Slot, at: u32, busy: u64) -> Claimed<'a> {
        Claimed {
            slot,
            root: self.root,
            at,
            outer: 0,
            busy,
        }
    }

    fn offset_of(&self, segment: usize, at: usize) -> Option<Offset> {
        // Relaxed: the caller has seen the segment.
        let base = self.root.segments.get(segment)?.load(Ordering::Relaxed);
        Offset::from_raw(base)?.plus_bytes(at * size_of::<Slot>())
    }

    /// Makes the next segment. `None`: no room, or somebody else is at it.
    #[cold]
    fn grow(&self) -> Option<()> {
        let segments = self.root.segments.iter().enumerate();
        // Relaxed: looked at again by the swap.
        let (index, cell) = segments
            .into_iter()
            .find(|(_, cell)| matches!(cell.load(Ordering::Relaxed), 0 | GROWING))?;
        cell.compare_exchange(0, GROWING, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        let made = self.region.alloc_array::<Slot>(FIRST_SLOTS << index);
        // Release: pairs with the Acquire in `segment`.
        cell.store(made.map_or(0, Offset::raw), Ordering::Release);
        made.map(|_| ())
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
        free(self.slot, self.sequence)
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

/// The sequence of the wait to come, if the slot was free.
#[inline]
fn try_claim(slot: &Slot) -> Option<u64> {
    // Relaxed: looked at again by the swap.
    let sequence = slot.sequence.load(Ordering::Relaxed);
    if state(sequence) != FREE {
        return None;
    }
    let filling = sequence.wrapping_add(1);
    // Acquire: pairs with the Release in `leave` and `free`.
    slot.sequence
        .compare_exchange(sequence, filling, Ordering::Acquire, Ordering::Relaxed)
        .ok()?;
    // Release: the stores to come are seen after the sequence. Pairs with the
    // Acquire fence in `read`.
    fence(Ordering::Release);
    Some(sequence.wrapping_add(2))
}

/// Frees a busy slot for whoever left it.
fn free(slot: &Slot, sequence: u64) -> Place {
    // Filling, so that nobody claims it before the place is taken out. AcqRel: as in
    // `try_claim` and `leave`.
    let filling = slot.sequence.compare_exchange(
        sequence,
        sequence.wrapping_add(3),
        Ordering::AcqRel,
        Ordering::Relaxed,
    );
    if filling.is_err() {
        return Place::NONE;
    }
    let place = take_place(slot);
    // Release: as in `leave`.
    slot.sequence
        .store(sequence.wrapping_add(6), Ordering::Release);
    place
}

#[cold]
fn take_place(slot: &Slot) -> Place {
    // Acquire: pairs with the Release in `move_to`.
    Place(slot.place.swap(0, Ordering::Acquire))
}

fn read(slot: &Slot) -> Option<Seen<'_>> {
    // Acquire: pairs with the Release in `publish`.
    let sequence = slot.sequence.load(Ordering::Acquire);
    if state(sequence) != BUSY {
        return None;
    }
    // Relaxed, all: the sequence is looked at again behind the fence.
    let mut registers = [0; 4];
    for (value, cell) in registers.iter_mut().zip(&slot.registers) {
        *value = cell.load(Ordering::Relaxed);
    }
    let entry = Entry {
        tid: slot.tid.load(Ordering::Relaxed),
        what: slot.what.load(Ordering::Relaxed),
        address: slot.address.load(Ordering::Relaxed),
        since_nanos: slot.since_nanos.load(Ordering::Relaxed),
        labels: slot.labels.load(Ordering::Relaxed),
        registers,
    };
    let place = Place(slot.place.load(Ordering::Relaxed));
    // Acquire: pairs with the Release fence in `try_claim`: had a field been written
    // for a later wait, the sequence would be another.
    fence(Ordering::Acquire);
    let same = slot.sequence.load(Ordering::Relaxed) == sequence;
    same.then_some(Seen {
        slot,
        sequence,
        entry,
        place,
    })
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

fn state(sequence: u64) -> u64 {
    sequence & 3
}

const FREE: u64 = 0;
const FILLING: u64 = 1;
const BUSY: u64 = 2;

/// In [`Entry::what`].
pub(crate) const TIMED: u32 = 1 << 8;

/// Somebody makes the segment. No record stands at the first bytes.
const GROWING: u32 = 1;
/// 4 KiB, and twice as much each time: as many as a process has threads that wait.
#[cfg(not(any(everprof_loom, miri)))]
const FIRST_SLOTS: usize = 32;
/// Few, so that models and tests reach growth.
#[cfg(any(everprof_loom, miri))]
const FIRST_SLOTS: usize = 2;
/// 32 Mi slots: more than there can be threads (2²²).
const SEGMENTS: usize = 20;
/// At three quarters full a hundredth of all finds sixteen in a row taken.
const WINDOW: usize = 16;
/// A handler in a handler in a handler.
const MOST_NESTED: usize = 8;

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Slot>() == 128);
