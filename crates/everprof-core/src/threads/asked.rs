//! Asking a running thread for its own stack.
//!
//! Context: cold to ask; signal in `answer_here`, which runs in the thread that is asked.
//! Invariant: a slot's words are written only between a handler's change of its state
//! from Asked to Walking and its own change to Done, and read only afterwards. Slots are
//! never unmapped and a state never comes again, so that a handler which comes late,
//! years after its question was withdrawn, finds another state and does nothing.
//!
//! ```text
//! who        state of a slot
//! collector  (old, Withdrawn) ─→ (question, Asked)             and sends the signal
//! handler    (question, Asked) ─→ (question, Walking) ─→ (question, Done)
//! collector  (question, Asked) ─→ (question, Withdrawn)
//! collector  (question, Done) ─→ (question, Withdrawn)         when it has read the answer
//! ```
//!
//! A slot whose handler was held up in the middle of its walk stays taken until that
//! ends; what an earlier collection left Done, nobody will read. The signal carries tag, question and slot in its one word.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::Process;
use crate::signal::{self, Arrival};
use crate::stack::{self, Captured, MAX_DEPTH, Registers, StackEnd, platform};
use crate::{clock, global, labels, local, sys};

/// As many as are asked at one time. More running threads than that wait for a place,
/// and for a processor anyway.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;

/// Where threads answer: 8 MiB of address space, of which each slot ever used takes a
/// page or three.
#[derive(Debug)]
pub(super) struct Pool {
    slots: NonNull<[Slot; SLOTS]>,
}

// SAFETY: slots are shared by design; each of their fields is an atomic, or is guarded by
// the state (module head).
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// All bits zero is its first state: question 0, which is never asked, Done.
#[derive(Debug)]
#[repr(C, align(64))]
struct Slot {
    /// A [`Question`]'s number above two bits of phase. Both sides write (module head).
    state: AtomicU64,
    /// What the walk brought. Written by the handler before Done, read after it.
    depth: AtomicU32,
    end: AtomicU32,
    held_nanos: AtomicU64,
    /// The set of the labels that the handler found in force.
    labels: AtomicU32,
    words: UnsafeCell<[u64; MAX_DEPTH]>,
}

const DONE: u64 = 0;
const ASKED: u64 = 1;
const WALKING: u64 = 2;
const WITHDRAWN: u64 = 3;

impl Slot {
    /// Whether question `number` of a collection that began with `first` may be put here.
    fn is_free(&self, first: u64, number: u64) -> bool {
        // Acquire: as in `answer`; the walk before is over.
        let state = self.state.load(Ordering::Acquire);
        let since_first = |number: u64| number.wrapping_sub(first) & Question::NUMBER_MASK;
        match state & 3 {
            WITHDRAWN => true,
            // Of this collection it is an answer that has not been read.
            DONE => since_first(state >> 2) >= since_first(number),
            _ => false,
        }
    }

    /// Writes to the pages of what most stacks take, so that no handler holds its thread up
    /// until the kernel has found them. For a slot that is not asked.
    fn prepare(&self) {
        for index in [0, PREPARED_WORDS - 1] {
            let word = self.words.get().cast::<u64>().wrapping_add(index);
            // SAFETY: within the words, which nobody else writes or reads: the state is Done or
            // Withdrawn, and only this thread can change that (module head).
            unsafe { word.write_volatile(0) };
        }
    }
}

/// A page's worth of a stack, 512 frames, which lie in two pages at the most.
const PREPARED_WORDS: usize = 512;

/// One request of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    number: u64,
    slot: usize,
}

impl Question {
    /// Twelve bits that no address begins with, the number, the slot.
    const TAG: u64 = 0xe9f << 52;
    const TAG_MASK: u64 = 0xfff << 52;
    /// 42 bits: at a million questions a second they last for fifty days, and what then
    /// comes again is a number that no signal still carries.
    const NUMBER_MASK: u64 = (1 << (52 - SLOT_BITS)) - 1;

    fn value(self) -> u64 {
        Self::TAG | self.number << SLOT_BITS | self.slot as u64
    }

    fn from_value(value: u64) -> Option<Self> {
        (value & Self::TAG_MASK == Self::TAG).then_some(Self {
            number: value >> SLOT_BITS & Self::NUMBER_MASK,
            slot: (value & (SLOTS as u64 - 1)) as usize,
        })
    }

    fn state(self, phase: u64) -> u64 {
        self.number << 2 | phase
    }
}

/// What a thread answered; its stack was copied out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) captured: Captured,
    pub(super) held_nanos: u64,
    /// The set in force.
    pub(super) labels: u32,
}

/// Why a thread was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No place to answer.
    Busy,
    /// No such thread.
    Gone,
    /// The kernel has no such signal: user emulators keep some of their guest's for themselves
    /// (qemu's the last two), and take handlers for them all the same.
    NoSuchSignal,
    /// The kernel refuses: too many signals are queued, or a filter is in the way.
    Failed,
}

impl Pool {
    /// Maps the slots, for good. `None`: there is no memory.
    pub(super) fn map() -> Option<Self> {
        let slots = sys::map_private(size_of::<[Slot; SLOTS]>())?.cast();
        Some(Self { slots })
    }

    fn slots(&self) -> &[Slot; SLOTS] {
        // SAFETY: mapped by `map`, zeroed, of that size, aligned to a page, never unmapped;
        // all bits zero is a slot.
        unsafe { self.slots.as_ref() }
    }

    /// Sends `signal` to a thread of this process, to answer in a slot.
    ///
    /// One collection runs at a time (`turn`), so one caller; its questions begin at `first`.
    pub(super) fn ask(&self, thread: u32, signal: i32, first: u64) -> Result<Question, Refused> {
        // Relaxed: a number that is new; the state publishes.
        let number = NEXT.fetch_add(1, Ordering::Relaxed) & Question::NUMBER_MASK;
        // The first, so that few are ever touched, and those stay in the cache.
        let mut slots = self.slots().iter().enumerate();
        let (slot, place) = slots
            .find(|(_, slot)| slot.is_free(first, number))
            .ok_or(Refused::Busy)?;
        let question = Question { number, slot };
        place.prepare();
        // Release: what was read of the last answer was read before. Pairs with the
        // Acquire in `answer_here`.
        place.state.store(question.state(ASKED), Ordering::Release);
        let sent = send(thread, signal, question.value());
        if sent == 0 {
            return Ok(question);
        }
        // Nobody was told of it.
        place
            .state
            .store(question.state(WITHDRAWN), Ordering::Relaxed);
        const GONE: i64 = -(libc::ESRCH as i64);
        const NO_SUCH_SIGNAL: i64 = -(libc::EINVAL as i64);
        Err(match sent {
            GONE => Refused::Gone,
            NO_SUCH_SIGNAL => Refused::NoSuchSignal,
            _ => Refused::Failed,
        })
    }

    /// The answer, if it has come: its stack is copied to `out`.
    pub(super) fn answer(&self, question: Question, out: &mut [u64]) -> Option<Answer> {
        let slot = self.slots().get(question.slot)?;
        // Acquire: sees the words. Pairs with the Release in `answer_here`.
        if slot.state.load(Ordering::Acquire) != question.state(DONE) {
            return None;
        }
        // Relaxed, all: published by the state.
        let depth = slot.depth.load(Ordering::Relaxed) as usize;
        // SAFETY: the state is Done, so that no handler writes before the next question,
        // which only this thread can ask (module head).
        let words = unsafe { &*slot.words.get() };
        let depth = depth.min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..depth), words.get(..depth)) {
            to.copy_from_slice(from);
        }
        let answer = Answer {
            captured: Captured {
                depth,
                end: StackEnd::from_number(slot.end.load(Ordering::Relaxed)),
            },
            held_nanos: slot.held_nanos.load(Ordering::Relaxed),
            labels: slot.labels.load(Ordering::Relaxed),
        };
        // Relaxed: only whoever collects asks; it is Asked again, with Release.
        slot.state
            .store(question.state(WITHDRAWN), Ordering::Relaxed);
        Some(answer)
    }

    /// Takes the question back, unless it is being answered.
    pub(super) fn withdraw(&self, question: Question) {
        if let Some(slot) = self.slots().get(question.slot) {
            // Relaxed: a handler that comes later does nothing, and so publishes nothing.
            let _ = slot.state.compare_exchange(
                question.state(ASKED),
                question.state(WITHDRAWN),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }
}

/// The number that the next question will have. For one collection at a time.
pub(super) fn next_number() -> u64 {
    // Relaxed: a number.
    NEXT.load(Ordering::Relaxed) & Question::NUMBER_MASK
}

/// Numbers of questions, of all processes that were forked one from another. 0 is none.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The signal in use, installed; chosen anew where the program has taken it for itself.
pub(super) fn install() -> Option<i32> {
    let install = |signal: i32| signal::install(signal, answer_here).then_some(signal);
    if let Some(chosen) = crate::threads::chosen_signal() {
        return install(chosen);
    }
    // Relaxed: a number; collections take turns.
    let last = LAST.load(Ordering::Relaxed);
    if last != 0 && signal::is_installed(last) {
        return Some(last);
    }
    // Relaxed: as above.
    let below = match REFUSED.load(Ordering::Relaxed) {
        0 => libc::SIGRTMAX() + 1,
        refused => refused,
    };
    let found = free_below(below).and_then(install)?;
    LAST.store(found, Ordering::Relaxed);
    Some(found)
}

/// As [`install`], of a signal further down: this one cannot be sent. None where the program
/// chose it.
pub(super) fn install_below(refused: i32) -> Option<i32> {
    // Relaxed, both: numbers; collections take turns.
    REFUSED.store(refused, Ordering::Relaxed);
    LAST.store(0, Ordering::Relaxed);
    match crate::threads::chosen_signal() {
        None => install(),
        Some(_) => None,
    }
}

fn free_below(limit: i32) -> Option<i32> {
    (libc::SIGRTMIN()..limit)
        .rev()
        .find(|&signal| signal::is_default(signal))
}

/// The signal that was found free. Written by collections.
static LAST: AtomicI32 = AtomicI32::new(0);

/// The last one that could not be sent, or 0. Written by collections.
static REFUSED: AtomicI32 = AtomicI32::new(0);

/// Walks this thread into the slot that the signal names.
///
/// Context: signal.
fn answer_here(arrival: &Arrival<'_>) -> bool {
    if arrival.code() != libc::SI_QUEUE || arrival.sender() != sys::process_id() {
        return false;
    }
    let Some(question) = Question::from_value(arrival.value()) else {
        return false;
    };
    let slot = Process::known()
        .and_then(|process| process.pool.as_ref())
        .and_then(|pool| pool.slots().get(question.slot));
    let Some(slot) = slot else {
        return true;
    };
    // Acquire: pairs with the Release in `ask`. Relaxed else: too late, nothing is touched.
    let ours = slot.state.compare_exchange(
        question.state(ASKED),
        question.state(WALKING),
        Ordering::Acquire,
        Ordering::Relaxed,
    );
    if ours.is_err() {
        return true;
    }
    let start_nanos = clock::early_nanos();
    let captured = if has_room(arrival) {
        walk_into(slot, arrival)
    } else {
        NO_ROOM
    };
    // Relaxed, all: published by the state.
    slot.depth.store(captured.depth as u32, Ordering::Relaxed);
    slot.end.store(captured.end.number(), Ordering::Relaxed);
    let labels = local::with(|local| labels::in_force(global::store(), local));
    slot.labels.store(labels, Ordering::Relaxed);
    let held_nanos = clock::early_nanos().saturating_sub(start_nanos);
    slot.held_nanos.store(held_nanos, Ordering::Relaxed);
    // Release: publishes words and figures. Pairs with the Acquire in `answer`.
    slot.state.store(question.state(DONE), Ordering::Release);
    true
}

/// For a slot that this handler has made Walking.
fn walk_into(slot: &Slot, arrival: &Arrival<'_>) -> Captured {
    // SAFETY: the change to Walking, which only one can make, gives the words to this
    // handler until it makes them Done (module head).
    let words = unsafe { &mut *slot.words.get() };
    local::with(|local| stack::capture(&arrival.registers(), &local.stack, words, &(0..0)))
}

/// Whether there is room for a walk: a handler of the program's that was interrupted may run
/// on a signal stack of a few KiB. Of a thread's own stack there always is.
fn has_room(arrival: &Arrival<'_>) -> bool {
    let here = Registers::here().sp;
    let signal_stack = arrival.signal_stack();
    !signal_stack.contains(&here) || here - signal_stack.start >= ROOM_BYTES
}

/// What a walk takes (`tests/stack_signals.rs` measures up to 2 KiB, and 16 without
/// optimisation), and the handler's own frames.
const ROOM_BYTES: u64 = if cfg!(debug_assertions) {
    20 << 10
} else {
    3 << 10
};

/// The answer of a thread that has no room to find a better one.
const NO_ROOM: Captured = Captured {
    depth: 0,
    end: StackEnd::NoWalk,
};

/// `siginfo_t` of a queued signal, as both architectures lay it out.
#[repr(C)]
struct Queued {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    process: u32,
    user: u32,
    value: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>());

/// Queues `signal` for one thread of this process. 0, or an error below it.
fn send(thread: u32, signal: i32, value: u64) -> i64 {
    let process = sys::process_id();
    let queued = Queued {
        signal,
        errno: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        process,
        // SAFETY: has no preconditions.
        user: unsafe { libc::getuid() },
        value,
        rest: [0; 12],
    };
    // SAFETY: the kernel reads a siginfo; the signal has a handler (`install`).
    unsafe {
        platform::syscall4(
            libc::SYS_rt_tgsigqueueinfo,
            u64::from(process),
            u64::from(thread),
            signal.cast_unsigned().into(),
            (&raw const queued) as u64,
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_question_survives_its_signal() {
        for (number, slot) in [(1, 0), (Question::NUMBER_MASK, SLOTS - 1), (77, 5)] {
            let found = Question::from_value(Question { number, slot }.value()).unwrap();
            assert_eq!((found.number, found.slot), (number, slot));
        }
        assert!(Question::from_value(0x7fff_1234_5678).is_none());
    }

    #[test]
    fn a_thread_that_is_not_there_takes_no_place() {
        let pool = Pool::map().unwrap();
        for _ in 0..2 * SLOTS {
            assert_eq!(
                pool.ask(0x3fff_ffff, libc::SIGRTMAX(), next_number()).err(),
                Some(Refused::Gone)
            );
        }
    }

    #[test]
    fn a_signal_that_the_kernel_does_not_have_takes_no_place_and_another_is_found() {
        let (pool, thread) = (Pool::map().unwrap(), sys::thread_id());
        for _ in 0..2 * SLOTS {
            let beyond = libc::SIGRTMAX() + 1;
            let refused = pool.ask(thread, beyond, next_number()).err();
            assert_eq!(refused, Some(Refused::NoSuchSignal));
        }
        let found = free_below(libc::SIGRTMAX()).unwrap();
        assert!((libc::SIGRTMIN()..libc::SIGRTMAX()).contains(&found));
        assert_eq!(free_below(libc::SIGRTMIN()), None);
    }

    #[test]
    fn answer_keeps_its_place_until_it_is_read_or_its_collection_is_over() {
        let pool = Pool::map().unwrap();
        let slot = &pool.slots()[0];
        let question = Question { number: 8, slot: 0 };
        for (phase, free) in [(ASKED, false), (WALKING, false), (DONE, false)] {
            slot.state.store(question.state(phase), Ordering::Relaxed);
            assert_eq!(slot.is_free(7, 9), free, "{phase}");
        }
        assert!(slot.is_free(9, 9), "of the collection before");
        assert!(pool.slots()[1].is_free(7, 9), "never asked");
        assert!(pool.answer(question, &mut [0; 4]).is_some());
        assert!(slot.is_free(7, 9));
        assert!(pool.answer(question, &mut [0; 4]).is_none());
    }
}
