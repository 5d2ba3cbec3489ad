//! Slots: who waits now, for what, since when, and where their stacks are.
//!
//! Context: sampled; `for_each` is cold. No lock, no panic.
//! Invariant: a slot is somebody's from the claim to the end of the wait, or until it is
//! known that the wait was left ([`slot`] has its states). Segments are never moved or freed.
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

use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::sync::{AtomicU32, Ordering};

mod slot;

use slot::{BUSY, FILLING, Slot, state};
pub use slot::{Claimed, Entry, Place, Seen};
#[cfg(not(everprof_loom))]
pub(super) use slot::{TIMED, what};

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

impl NewRecord for SlotsRoot {
    fn new_record() -> Self {
        Self {
            segments: [(); SEGMENTS].map(|()| AtomicU32::new(0)),
            moves: AtomicU32::new(0),
            spare: AtomicU32::new(0),
        }
    }
}
records!(SlotsRoot);

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
            && let Some(busy) = slot.try_claim()
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
            let place = slot.free(sequence);
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
        // Relaxed: the head of `slot` says who is late.
        self.root.moves.swap(1, Ordering::Relaxed) != 0
    }

    /// Calls `visit` with each wait there is. Cold.
    pub fn for_each(&self, mut visit: impl FnMut(Seen<'a>)) {
        for slot in self.all() {
            if let Some(seen) = slot.read() {
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
            slot.reset();
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
                    if let Some(busy) = slot.try_claim() {
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
            moves: &self.root.moves,
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
