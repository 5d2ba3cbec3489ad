//! Entry: what is known of one watched future.
//!
//! Context: any; no lock, no allocation. Invariant: all bits zero is a free entry. Fields of
//! the poller are written on one thread at a time, between two changes of `stage`; who reads
//! them from elsewhere reads `stage` before and after.
//!
//! | fields | written by | read by |
//! |---|---|---|
//! | cell | [`cell`](super::cell) | |
//! | woken_nanos | whoever wakes; also the poller, back to 0 | the poller, looks |
//! | begun | whoever wakes without a reference of the cell | the poller, looks |
//! | keepers | [`entries`](super::entries); whoever lends a cell | |
//! | stage | whoever registers, polls and ends the task; `UNTRACKED` also by leaves | looks |
//! | given, attached | the poller | whoever has the waker that is lent, within the poll |
//! | the rest | whoever registers, polls and ends the task | the same, looks |
//!
//! They stand by who touches them, 64 bytes each, as a line of the processor's cache goes from one
//! to the other:
//!
//! ```text
//!  a wake, which may come from anywhere, and a clone    cell … attached
//!  each poll                                            stage … leaves, the first three
//!  what few polls touch                                 leaves, the rest … kind
//! ```
//!
//! **Is it woken?** Wakes are counted, each *before* it calls the executor: in the cell's word,
//! if they are by a reference of it, else in `begun`. The poller keeps in `seen` what both came to
//! at the poll's start. If they are more, somebody has woken the task since.
//!
//! **And may a poll be on its way although it is not?** A wake that began before a poll started
//! may reach the executor after that: the task will then be polled again. If one wake alone
//! began since the poll before, then it is what caused this poll, and nothing is on its way.
//! Of two, one may be. That is what `DOUBT` keeps until a poll before which nobody woke.

use std::task::Waker;

use super::cell::Cell;
use crate::labels::Labels;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Await stacks that are kept of one task; of a larger join or select the rest is counted.
pub const MOST_LEAVES: usize = 8;

/// See the module head.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) cell: Cell,
    /// When the first wake that the poller has not seen began; 0: there is none.
    pub(crate) woken_nanos: AtomicU64,
    /// Of a cell that is lent: the task it is lent to. Null: the task here.
    lent_to: AtomicPtr<Entry>,
    /// Wakes that have begun, but for those that the cell counts.
    begun: AtomicU32,
    /// What keeps it from being free: its cell until that is nobody's, and each that is lent to it.
    keepers: AtomicU32,
    /// What the poll under way was given to be woken by. Valid as long as what that poll lends.
    pub(crate) given: AtomicPtr<Waker>,
    /// The cell whose waker is that, since a leaf wanted it; null: none did in this poll. One
    /// that is lent has a reference for the poll, and another in this entry none.
    pub(crate) attached: AtomicPtr<Entry>,

    /// Stage and flags, and above them how often they changed.
    stage: AtomicU64,
    /// When the stage began.
    pub(crate) since_nanos: AtomicU64,
    /// The store's generation, plus 1, that its buckets belong to.
    pub(crate) generation: AtomicU64,
    pub(crate) labels: AtomicU64,
    /// The future, as it was when last polled; 0: it was not.
    pub(crate) future_at: AtomicUsize,
    /// How many wakes had begun when the last poll did. See also `next_free`.
    pub(crate) seen: AtomicU32,
    /// The thread that polls.
    pub(crate) tid: AtomicU32,
    /// Stacks captured in the last poll, those beyond `leaves` included.
    pub(crate) leaf_count: AtomicU32,
    /// The buckets of the last await stacks. Those behind the third are rare.
    pub(crate) leaves: [AtomicU32; MOST_LEAVES],

    /// The bucket of who made the task; 0: not known.
    pub(crate) made_by: AtomicU32,
    /// The task's number; never used again.
    pub(crate) id: AtomicU64,
    /// The task that was being polled on the thread that made it; 0: none.
    pub(crate) maker: AtomicU64,
    /// The task in whose poll this one's last poll was, if `PART` says that there is one.
    pub(crate) parent: AtomicU64,
    pub(crate) created_nanos: AtomicU64,
    /// What is known of its type.
    pub(crate) kind: AtomicPtr<Kind>,
}

/// What is known of a type of futures.
#[derive(Debug)]
pub struct Kind {
    /// Its name, as `std::any::type_name` gives it.
    pub name: fn() -> &'static str,
    /// Bytes of one.
    pub size_bytes: usize,
}

/// What a watched future does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Stage {
    /// There is none.
    Free = 0,
    /// It has not been polled.
    Created = 1,
    /// It is being polled.
    Polled = 2,
    /// Its last poll returned `Pending`.
    Waiting = 3,
}

const STAGES: u64 = 3;
/// In its last poll it woke itself.
pub(crate) const SELF_WOKEN: u64 = 1 << 2;
/// It was polled once with the executor's own waker, of which leaves may keep clones that
/// nobody counts.
pub(crate) const UNTRACKED: u64 = 1 << 3;
/// See the module head.
pub(crate) const DOUBT: u64 = 1 << 4;
/// It is what the executor polls, and nobody else does.
pub(crate) const ROOT: u64 = 1 << 5;
/// When its last poll began nobody had a waker of it: all that exist are that poll's.
pub(crate) const ANEW: u64 = 1 << 6;
/// Its last poll was in that of `parent`.
pub(crate) const PART: u64 = 1 << 7;
const FLAGS: u64 = SELF_WOKEN | UNTRACKED | DOUBT | ROOT | ANEW | PART;
/// One change.
const CHANGE: u64 = 1 << 8;

/// Stage and flags at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    /// Of no task.
    pub(crate) const FREE: Self = Self(0);

    pub(crate) fn stage(self) -> Stage {
        match self.0 & STAGES {
            0 => Stage::Free,
            1 => Stage::Created,
            2 => Stage::Polled,
            _ => Stage::Waiting,
        }
    }

    pub(crate) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// Those of these flags that it has.
    pub(crate) fn only(self, flags: u64) -> u64 {
        self.0 & flags & FLAGS
    }

    /// The tag of wakers, if this is within a poll.
    fn tag(self) -> usize {
        // A poll begins with one change and ends with another.
        (self.0 / (2 * CHANGE)) as usize % TAGS
    }

    /// The tag of the wakers of the last poll, if this is behind one.
    pub(crate) fn tag_of_last_poll(self) -> usize {
        Self(self.0.wrapping_sub(CHANGE)).tag()
    }
}

impl Entry {
    /// Where it stands, to compare.
    pub(crate) fn is(&self, other: Option<&Entry>) -> bool {
        other.is_some_and(|other| std::ptr::eq(self, other))
    }

    /// Stage and flags now.
    pub(crate) fn word(&self) -> Word {
        // Acquire: pairs with the Release in `enter`: the fields are of that stage or later.
        Word(self.stage.load(Ordering::Acquire))
    }

    /// Whether nothing has changed since `word` was read, after fields were read.
    pub(crate) fn is_still(&self, word: Word) -> bool {
        // Acquire: the fields were read before. Pairs with the Release fence in `enter`.
        fence(Ordering::Acquire);
        // Relaxed: compared only.
        self.stage.load(Ordering::Relaxed) == word.0
    }

    /// Enters a stage, with these flags and no others. By whoever has the future.
    pub(crate) fn enter(&self, stage: Stage, flags: u64) {
        // Relaxed: written by whoever has the future alone.
        let before = self.stage.load(Ordering::Relaxed);
        let changes = before.wrapping_add(CHANGE) & !(CHANGE - 1);
        let word = changes | stage as u64 | flags & FLAGS;
        // Release: publishes the fields that were written. Pairs with the Acquire in `word`.
        self.stage.store(word, Ordering::Release);
        // Release: fields that are written from now on are not seen with the stage of before.
        // Pairs with the fence in `is_still`.
        fence(Ordering::Release);
    }

    /// A leaf has the executor's own waker. Called within a poll, in which nobody else changes
    /// the stage.
    pub(crate) fn note_untracked_leaf(&self) {
        // Relaxed: whoever ends the poll sees what was done within it.
        self.stage.fetch_or(UNTRACKED, Ordering::Relaxed);
    }

    /// What tells wakers of the poll under way from those of the 63 before.
    pub(crate) fn tag(&self) -> usize {
        // Relaxed: within the poll, at whose ends alone it changes.
        Word(self.stage.load(Ordering::Relaxed)).tag()
    }

    /// The task whose waker's this is. A lent cell holds the task's, so that it is not reused.
    pub(crate) fn task(&'static self) -> &'static Entry {
        // Relaxed: written before the cell was lent, on the way to whoever has a waker of it.
        let task = self.lent_to.load(Ordering::Relaxed);
        // SAFETY: null, or an entry, which is never unmapped (`entries`).
        unsafe { task.as_ref() }.unwrap_or(self)
    }

    /// Makes this free entry's cell one of `task`.
    pub(crate) fn lend(&self, task: &'static Entry) {
        // Relaxed: the task is being polled, so that it is kept already.
        task.keepers.fetch_add(1, Ordering::Relaxed);
        // Relaxed: published by whoever hands on a waker.
        self.lent_to
            .store(std::ptr::from_ref(task).cast_mut(), Ordering::Relaxed);
    }

    /// It was free, and is its cell's.
    pub(crate) fn keep(&self) {
        // Relaxed: nobody else has it.
        self.keepers.store(1, Ordering::Relaxed);
    }

    /// Somebody keeps it no longer. True: nobody does.
    pub(crate) fn release(&self) -> bool {
        // Release: what the keeper did is done, its marks above all; pairs with the Acquire of the
        // last one, which this may be, and with that in `lent`.
        self.keepers.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Cells that are lent to this task.
    pub(crate) fn lent(&self) -> u32 {
        // Acquire: pairs with the Release in `release`: the mark of a waker whose cell is gone is
        // seen.
        self.keepers.load(Ordering::Acquire).saturating_sub(1)
    }

    /// The next free entry's number plus 1, while this one is free.
    pub(crate) fn next_free(&self) -> &AtomicU32 {
        // It has no task, so that nobody sees wakes of it.
        &self.seen
    }

    /// It was nobody's for a moment: back to the first state. The task whose it was.
    pub(crate) fn recall(&self) -> Option<&'static Entry> {
        // Relaxed, both: nobody else has the entry.
        let task = self.lent_to.load(Ordering::Relaxed);
        self.lent_to.store(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: as in `task`.
        unsafe { task.as_ref() }
    }

    /// Somebody is about to wake the task, now unless that is known. To be counted next.
    #[inline]
    pub(crate) fn note_woken(&self, now_nanos: impl FnOnce() -> u64) {
        // Relaxed, both: a figure, published by the count. Of two that begin at once either will
        // do.
        if self.woken_nanos.load(Ordering::Relaxed) == 0 {
            self.woken_nanos
                .store(now_nanos().max(1), Ordering::Relaxed);
        }
    }

    /// Counts a wake that no reference of the task's own cell stands for.
    pub(crate) fn count_wake(&self) {
        // Release: whoever sees the wake sees its time. Pairs with the Acquire in `wakes`.
        self.begun.fetch_add(1, Ordering::Release);
    }

    /// Wakes that have begun, modulo 2³²; `counted` are those that the cell has counted.
    #[inline]
    pub(crate) fn wakes(&self, counted: u32) -> u32 {
        // Acquire: pairs with the Release in `count_wake`.
        counted.wrapping_add(self.begun.load(Ordering::Acquire))
    }

    pub(crate) fn labels(&self) -> Labels {
        // Relaxed: written before the stage, and read between two looks at it.
        Labels::from_bits(self.labels.load(Ordering::Relaxed))
    }
}

/// Bits below an entry's address, in which its wakers have a tag.
pub(crate) const TAGS: usize = align_of::<Entry>();

const _: () = assert!(size_of::<Entry>() == 192);
const _: () = assert!(std::mem::offset_of!(Entry, stage) == 64);
const _: () = assert!(std::mem::offset_of!(Entry, leaves) <= 128 - 3 * size_of::<AtomicU32>());
