//! Cycle clock: when what happens in a heap with deferred frees becomes visible.
//!
//! Context: sampled, but for what asks for a [`Lock`], which is cold. [`Clock::next_cycle`]
//! may be called at any time, also while every other thread is stopped.
//! Invariant: no free is published before its allocation, in whatever order the calls
//! come. Source: Go runtime/mprof.go; there mutators and flushes take the same locks,
//! here mutators enter and leave a cycle and wait for nobody.
//!
//! A collector finds at a *mark termination* what is garbage, and frees it bit by bit
//! while the program goes on to allocate. So that what is published is the heap at a
//! mark termination, each event counts towards a cycle to come:
//!
//! ```text
//!  cycle C−2    C−1        C         C+1            while the clock stands at C
//! ─────┼─────────┼─────────┼─────────┼──────       ─────────────────────────────
//!  allocations ─────▶ published as C               allocations, explicit frees → C+2
//!            sweep frees ─▶ published as C         sweep frees                 → C+1
//! ```
//!
//! | the collector | does | so that |
//! |---|---|---|
//! | ends marking | `next_cycle`: C becomes C+1 | later events count towards later cycles |
//! | lets the program run | flush: publishes C | the mark termination before this one is shown |
//! | ends sweeping | post-sweep: publishes C+1 | this mark termination is shown |
//!
//! Counters stand in three slots, a cycle's being its number modulo three: C is
//! published while C+1 and C+2 are counted. The number wraps at a multiple of three.
//!
//! **Entering.** One word holds the cycle and how many events entered in it, so that
//! an event and its cycle are one addition. Before C is published those that entered
//! in C−2 and C−1 must have left: nobody else counts towards C.
//!
//! **Not flushed.** Were the clock to go on before C is published, the events of C+3
//! would be counted into C's slot. It does not: `next_cycle` says no, and the cycle
//! goes on. A sweep may then free what was allocated towards C+2: it counts there, too.

use crate::arena::NewRecord;
use crate::cold_lock::{ColdLock, Held};
use crate::sync::{AtomicU64, Ordering};

/// Cycles whose counters stand side by side.
pub const SLOTS: u32 = 3;

/// Where the number wraps: a multiple of [`SLOTS`], so that the slots go on in turn.
pub const WRAP: u32 = SLOTS << 23;

/// A cycle's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle(u32);

impl Cycle {
    /// The cycle of this number, which is taken modulo [`WRAP`].
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self((number % WRAP as u64) as u32)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 as u64
    }

    /// The cycle `n` later.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self((self.0 + n) % WRAP)
    }

    /// The cycle `n` earlier; `n` is at most [`WRAP`].
    #[must_use]
    pub const fn minus(self, n: u32) -> Self {
        Self((self.0 + WRAP - n) % WRAP)
    }

    /// Where its counters stand.
    #[must_use]
    pub const fn slot(self) -> usize {
        (self.0 % SLOTS) as usize
    }
}

/// The clock's word: who entered when. Of a cycle that is over, its final state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

impl Word {
    /// The cycle has been published. Of a cycle that is over it means nothing.
    const FLUSHED: u64 = 1;
    const CYCLE_SHIFT: u32 = 1;
    const CYCLE_MASK: u64 = (1 << 25) - 1;
    /// Entries stand at the top: should there ever be more than 2³⁸ in a cycle, the
    /// carry falls out of the word, and whoever compares does so modulo 2³⁸.
    const ENTRY_SHIFT: u32 = 26;
    const ENTRY: u64 = 1 << Self::ENTRY_SHIFT;

    /// The beginning of a cycle.
    #[must_use]
    const fn begin(cycle: Cycle) -> Self {
        Self((cycle.0 as u64) << Self::CYCLE_SHIFT)
    }

    #[must_use]
    const fn flushed(self) -> Self {
        Self(self.0 | Self::FLUSHED)
    }

    const fn is_flushed(self) -> bool {
        self.0 & Self::FLUSHED != 0
    }

    const fn cycle(self) -> Cycle {
        Cycle((self.0 >> Self::CYCLE_SHIFT & Self::CYCLE_MASK) as u32)
    }

    const fn entries(self) -> u64 {
        self.0 >> Self::ENTRY_SHIFT
    }
}

const _: () = assert!(WRAP as u64 <= Word::CYCLE_MASK);

/// The clock of one heap. In a line of the cache of its own: an event writes the word and
/// a count of those who left, and should take one line for it from other threads, not two.
#[repr(align(64))]
#[derive(Debug)]
pub struct Clock {
    /// A [`Word`]. Added to by every event, exchanged by `next_cycle`; its flushed bit
    /// is set by whoever holds the lock.
    word: AtomicU64,
    /// By slot: the last [`Word`] of a cycle that is over. Written by `next_cycle`.
    over: [AtomicU64; SLOTS as usize],
    /// By slot: how many left the cycle. Added to by every event, zeroed by
    /// `next_cycle` before the cycle begins.
    left: [AtomicU64; SLOTS as usize],
    /// Held while somebody publishes, or reads what is published.
    locked: ColdLock,
}

/// One event between `enter` and its end.
#[derive(Debug)]
#[must_use]
pub struct Entered<'c> {
    clock: &'c Clock,
    cycle: Cycle,
}

/// Held by the one who publishes or reads what is published. No event takes it.
#[derive(Debug)]
#[must_use]
pub struct Lock<'c> {
    clock: &'c Clock,
    /// The next holder sees what was moved.
    _held: Held<'c>,
}

impl Clock {
    /// A clock that begins at `cycle`, with nothing to publish.
    #[must_use]
    pub fn starting_at(cycle: Cycle) -> Self {
        let clock = Self {
            word: AtomicU64::new(0),
            over: [(); SLOTS as usize].map(|()| AtomicU64::new(0)),
            left: [(); SLOTS as usize].map(|()| AtomicU64::new(0)),
            locked: ColdLock::new_record(),
        };
        clock.restart_at(cycle);
        clock
    }

    /// Back to the first state. Nobody else may be at work: a fork's child.
    pub(crate) fn restart_at(&self, cycle: Cycle) {
        // Relaxed, all: published with the clock itself.
        for back in 1..SLOTS {
            let before = cycle.minus(back);
            if let Some(over) = self.over.get(before.slot()) {
                over.store(Word::begin(before).0, Ordering::Relaxed);
            }
        }
        for left in &self.left {
            left.store(0, Ordering::Relaxed);
        }
        self.word
            .store(Word::begin(cycle).flushed().0, Ordering::Relaxed);
        self.locked.free();
    }

    /// Begins an event, which counts until the result drops.
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        // Acquire: pairs with the Release in `next_cycle`, so that the slot this event
        // counts in was emptied before. Release: whoever enters later (a free) or ends
        // the cycle sees what came before.
        let before = Word(self.word.fetch_add(Word::ENTRY, Ordering::AcqRel));
        Entered {
            clock: self,
            cycle: before.cycle(),
        }
    }

    /// The cycle now.
    #[must_use]
    pub fn now(&self) -> Cycle {
        // Acquire: pairs with the Release in `next_cycle`.
        Word(self.word.load(Ordering::Acquire)).cycle()
    }

    /// Begins the next cycle: what happens from here on counts towards a later one.
    /// False: the cycle has not been flushed, and goes on.
    ///
    /// Constant time; a turn of the loop is lost only to an event that entered.
    #[must_use]
    pub fn next_cycle(&self) -> bool {
        // Relaxed: the exchange below looks again.
        let mut seen = Word(self.word.load(Ordering::Relaxed));
        loop {
            if !seen.is_flushed() {
                return false;
            }
            let next = seen.cycle().plus(1);
            if let Some(left) = self.left.get(next.slot()) {
                // Relaxed: published by the exchange. The cycle before in this slot
                // was waited for when it was flushed.
                left.store(0, Ordering::Relaxed);
            }
            // Acquire: pairs with the Release in `set_flushed`. Release: publishes the
            // emptied slot and count to `enter`.
            match self.word.compare_exchange_weak(
                seen.0,
                Word::begin(next).0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => seen = Word(now),
            }
        }
        if let Some(over) = self.over.get(seen.cycle().slot()) {
            // Release: pairs with the Acquire in `settled`.
            over.store(seen.0, Ordering::Release);
        }
        true
    }

    /// Waits for others who publish or read. Cold.
    pub fn lock(&self) -> Lock<'_> {
        Lock {
            clock: self,
            _held: self.locked.lock(),
        }
    }
}

impl Entered<'_> {
    /// The cycle that an allocation counts towards.
    #[must_use]
    pub fn allocated(&self) -> Cycle {
        self.cycle.plus(2)
    }

    /// The cycle that an explicit free counts towards: that of an allocation now.
    #[must_use]
    pub fn freed(&self) -> Cycle {
        self.cycle.plus(2)
    }

    /// The cycle that a sweep's free counts towards, of an object whose allocation
    /// counted towards `allocated`.
    ///
    /// A cycle is kept for ever and compared with three that are now: an object that
    /// is 2²⁴ cycles old may be taken for a new one, and counts a cycle later.
    #[must_use]
    pub fn swept(&self, allocated: Cycle) -> Cycle {
        let latest = self.cycle.plus(2);
        if allocated == latest {
            latest
        } else {
            self.cycle.plus(1)
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(left) = self.clock.left.get(self.cycle.slot()) {
            // Release: publishes what was counted. Pairs with the Acquire in `settled`.
            left.fetch_add(1, Ordering::Release);
        }
    }
}

impl Lock<'_> {
    /// The cycle now, if it has not been flushed. It stays until `set_flushed`.
    #[must_use]
    pub fn unflushed(&self) -> Option<Cycle> {
        // Acquire: pairs with the Release in `next_cycle`.
        let word = Word(self.clock.word.load(Ordering::Acquire));
        (!word.is_flushed()).then(|| word.cycle())
    }

    /// Whether all who entered in `cycle`, one of the two before this, have left it.
    #[must_use]
    pub fn settled(&self, cycle: Cycle) -> bool {
        let slot = cycle.slot();
        let (Some(over), Some(left)) = (self.clock.over.get(slot), self.clock.left.get(slot))
        else {
            return false;
        };
        // Acquire: pairs with the Release in `next_cycle`, which may not have come to
        // its last line.
        let over = Word(over.load(Ordering::Acquire));
        if over.cycle() != cycle {
            return false;
        }
        // Acquire: pairs with the Release in `Entered::drop`.
        let left = left.load(Ordering::Acquire);
        over.entries().wrapping_sub(left) << Word::ENTRY_SHIFT == 0
    }

    /// The cycle's counters were moved: the clock may go on.
    pub fn set_flushed(&self) {
        // Release: publishes the emptied slot. Pairs with the Acquire in `next_cycle`.
        self.clock.word.fetch_or(Word::FLUSHED, Ordering::Release);
    }
}

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Clock>() == 64);

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flush(clock: &Clock) {
        clock.lock().set_flushed();
    }

    #[test]
    fn clock_goes_on_only_after_a_flush() {
        let clock = Clock::starting_at(Cycle::of(0));
        assert_eq!(clock.lock().unflushed(), None, "nothing came before");
        assert!(clock.next_cycle());
        assert!(!clock.next_cycle());
        assert_eq!(clock.lock().unflushed(), Some(Cycle::of(1)));
        flush(&clock);
        assert!(clock.next_cycle());
        assert_eq!(clock.now(), Cycle::of(2));
    }

    #[test]
    fn number_wraps_and_the_slots_go_on_in_turn() {
        let clock = Clock::starting_at(Cycle::of(u64::from(WRAP) - 2));
        let mut slots = vec![clock.now().slot()];
        for _ in 0..5 {
            let event = clock.enter();
            assert_eq!(event.allocated().slot(), (clock.now().slot() + 2) % 3);
            drop(event);
            assert!(clock.next_cycle());
            let lock = clock.lock();
            let cycle = lock.unflushed().unwrap();
            assert!(lock.settled(cycle.minus(1)) && lock.settled(cycle.minus(2)));
            lock.set_flushed();
            slots.push(cycle.slot());
        }
        assert_eq!(slots, [1, 2, 0, 1, 2, 0]);
        assert_eq!(clock.now(), Cycle::of(3));
    }

    #[test]
    fn cycle_settles_when_the_last_event_leaves() {
        let clock = Clock::starting_at(Cycle::of(7));
        let (one, two) = (clock.enter(), clock.enter());
        assert!(clock.next_cycle());
        drop(clock.enter());
        let lock = clock.lock();
        drop(one);
        assert!(!lock.settled(Cycle::of(7)));
        drop(two);
        assert!(lock.settled(Cycle::of(7)) && lock.settled(Cycle::of(6)));
        assert!(!lock.settled(Cycle::of(8)), "it is not over");
    }

    #[test]
    fn sweep_never_counts_before_the_allocation() {
        let clock = Clock::starting_at(Cycle::of(9));
        let event = clock.enter();
        assert_eq!(event.swept(Cycle::of(3)), Cycle::of(10));
        assert_eq!(event.swept(event.allocated()), event.allocated());
    }
}
