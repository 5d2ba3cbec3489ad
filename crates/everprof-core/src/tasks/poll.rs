//! Poll: what is noted before and after the poll of a watched future.
//!
//! Context: sampled, but that the executor's waker may be dropped, as a leaf would have.
//! Invariant: whatever becomes of the future's poll, the thread's state is put back, and a cell
//! that was lent to it is given back.
//!
//! ```text
//! begin: generation, clock → wakes → stage "polled" → thread: task, labels
//! end:   thread as before → clock → stage "waiting" → what is due is counted → detach
//! ```
//!
//! The clock is read as early as the processor likes: waiting for what comes before takes longer
//! than the reading, and no interval here is of fewer instructions than may be passed by.
//!
//! **Times.** Of a poll three are told: how long the task waited before it (from the end of the
//! poll before to the first wake), how long it was ready (from there to this poll), how long
//! the poll took. All are charged to the stacks in which it waited before this poll, as what
//! runs in a poll is what follows that await; before the first await, to who made the task. A
//! task that is polled though nobody woke it, by the future that it is part of, and then waits
//! where it did, has waited on.
//!
//! One number is drawn for all three: each is weighed on its own, and no sum mixes them.

use std::task::Waker;

use super::attach;
use super::capture::{self, WOKE_ITSELF, this_thread};
use super::entry::{
    ANEW, DOUBT, Entry, MOST_LEAVES, PART, ROOT, SELF_WOKEN, Stage, UNTRACKED, Word,
};
use super::thread::Polled;
use super::wanted::How;
use super::{tally, waker};
use crate::arena::Offset;
use crate::clock::{early_nanos, now_nanos};
use crate::global;
use crate::labels::Labels;
use crate::ledger::{self, Ledger};
use crate::settings::Name;
use crate::stack::Registers;
use crate::store::Store;
use crate::sync::Ordering;
use crate::waits::chance::Threshold;

/// A poll under way, or none.
///
/// Filled in place, not returned: copies of it were a tenth of what a poll costs.
#[derive(Debug)]
pub(super) struct Polling {
    /// The task. `None`: no poll, or it is over.
    task: Option<&'static Entry>,
    /// The task in whose poll this one is, if its waker was lent for this one.
    outer: Option<&'static Entry>,
    thread_before: Polled,
    labels_before: Labels,
    before: Before,
    began_nanos: u64,
}

/// What was known before the poll.
#[derive(Clone, Copy, Debug)]
struct Before {
    word: Word,
    since_nanos: u64,
    /// When it was woken first; 0: it was not.
    woken_nanos: u64,
    leaves: [u32; MOST_LEAVES],
    leaf_count: u32,
}

impl Before {
    /// Whether the task waits in these places again. Only asked where nobody woke it.
    #[cold]
    #[inline(never)]
    fn stands(&self, task: &Entry) -> bool {
        let leaves = self.leaves.iter().zip(&task.leaves);
        leaves
            .take(self.leaf_count as usize)
            // Relaxed: by the poller.
            .all(|(before, leaf)| *before == leaf.load(Ordering::Relaxed))
    }
}

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The future is done.
    Ready,
    /// It waits.
    Pending,
    /// It panicked.
    Unwound,
}

impl Polling {
    /// No poll.
    pub(super) const NOTHING: Self = Self {
        task: None,
        outer: None,
        thread_before: Polled::NOTHING,
        labels_before: Labels::NONE,
        before: Before {
            word: Word::FREE,
            since_nanos: 0,
            woken_nanos: 0,
            leaves: [0; MOST_LEAVES],
            leaf_count: 0,
        },
        began_nanos: 0,
    };

    /// A poll of `task` begins, in the caller's frame; this was none. False: it cannot be seen;
    /// it is to be polled with what it was `given`, which else is used until the poll is over.
    #[inline(never)]
    pub(super) fn begin(
        &mut self,
        task: &'static Entry,
        given: &Waker,
        future_at: usize,
        registers: &Registers,
    ) -> bool {
        let store = global::store();
        let Some(_) = store.own_region() else {
            note_untracked(task);
            return false;
        };
        let generation = store.generation().to_bits() + 1;
        let local = this_thread();
        let outer = waker::lender(given);
        let began_nanos = early_nanos();
        // Relaxed, all fields below: this is the poller.
        if task.generation.load(Ordering::Relaxed) != generation {
            renew(task, generation);
        }
        let word = task.word();
        // First, so that the time of each wake that is seen is found, and put back.
        let mut flags = flags_at(task, word);
        let woken_nanos = task.woken_nanos.load(Ordering::Relaxed);
        let leaf_count = task.leaf_count.load(Ordering::Relaxed) & !WOKE_ITSELF;
        self.before.word = word;
        self.before.since_nanos = task.since_nanos.load(Ordering::Relaxed);
        self.before.woken_nanos = woken_nanos;
        self.before.leaf_count = leaf_count;
        self.before.leaves[0] = task.leaves[0].load(Ordering::Relaxed);
        if leaf_count > 1 {
            self.copy_others(task);
        }
        self.task = Some(task);
        self.outer = outer;
        self.began_nanos = began_nanos;
        if let Some(outer) = outer {
            flags |= PART;
            let parent = outer.id.load(Ordering::Relaxed);
            task.parent.store(parent, Ordering::Relaxed);
        }
        task.enter(Stage::Polled, flags);
        if woken_nanos != 0 {
            task.woken_nanos.store(0, Ordering::Relaxed);
        }
        task.since_nanos.store(began_nanos, Ordering::Relaxed);
        task.leaf_count.store(0, Ordering::Relaxed);
        task.future_at.store(future_at, Ordering::Relaxed);
        let tid = local.tasks.tid(generation);
        task.tid.store(tid, Ordering::Relaxed);
        let given = std::ptr::from_ref(given).cast_mut();
        task.given.store(given, Ordering::Relaxed);
        self.thread_before = local.tasks.polled.replace(Polled {
            task: Some(task),
            below: registers.sp,
            pc: registers.pc,
        });
        self.labels_before = local.labels.replace(task.labels());
        true
    }

    /// Of the stacks before the poll those behind the first.
    #[cold]
    #[inline(never)]
    fn copy_others(&mut self, task: &Entry) {
        let kept = self.before.leaf_count as usize;
        let leaves = self.before.leaves.iter_mut().zip(&task.leaves);
        for (copy, leaf) in leaves.take(kept).skip(1) {
            // Relaxed: as in `begin`.
            *copy = leaf.load(Ordering::Relaxed);
        }
    }

    /// It is over, if it was under way.
    #[inline(never)]
    pub(super) fn end(&mut self, outcome: Outcome) {
        let Some(task) = self.task.take() else {
            return;
        };
        let local = this_thread();
        local.labels.set(self.labels_before);
        local.tasks.polled.set(self.thread_before);
        let now_nanos = early_nanos();
        // Relaxed, all fields below: this is the poller.
        let count = task.leaf_count.load(Ordering::Relaxed);
        let mut waits_on = false;
        if outcome != Outcome::Ready {
            // What leaves have noted in the poll, too.
            let mut flags = task.word().only(!SELF_WOKEN);
            if count & WOKE_ITSELF != 0 {
                flags |= SELF_WOKEN;
            }
            if outcome == Outcome::Unwound {
                flags |= UNTRACKED;
            }
            waits_on = self.waits_on(task, count);
            let since_nanos = match waits_on {
                true => self.before.since_nanos,
                false => now_nanos,
            };
            task.since_nanos.store(since_nanos, Ordering::Relaxed);
            task.enter(Stage::Waiting, flags);
        }
        // Of those that it is part of this one is a leaf.
        if outcome == Outcome::Pending
            && let Some(outer) = self.outer
        {
            capture::leaf(outer, How::Awaits, &Registers::here());
        }
        self.charge(task, now_nanos, waits_on);
        if let Some(cell) = attach::detach(task) {
            // SAFETY: the poll's reference, which `detach` has given away.
            waker::end(cell, unsafe { cell.cell.release() });
        }
    }

    /// Nobody woke it, and it stands where it stood.
    fn waits_on(&self, task: &Entry, count: u32) -> bool {
        let before = &self.before;
        before.word.stage() == Stage::Waiting
            && before.woken_nanos == 0
            && count == before.leaf_count
            && (count == 0 || before.stands(task))
    }

    /// Counts what of the three times is due.
    #[inline]
    fn charge(&self, task: &Entry, now_nanos: u64, waits_on: bool) {
        let store = global::store();
        let period_nanos = store.settings().get(Name::TaskblockPeriod);
        if period_nanos == 0 {
            return;
        }
        let before = &self.before;
        let has_waited = before.word.stage() == Stage::Waiting && !waits_on;
        let woken_nanos = match before.woken_nanos {
            0 => self.began_nanos,
            nanos => nanos.min(self.began_nanos),
        };
        let wait = if has_waited {
            woken_nanos.saturating_sub(before.since_nanos)
        } else {
            0
        };
        let is_ready_since = match before.word.stage() {
            Stage::Created => before.since_nanos,
            _ => woken_nanos,
        };
        let ready = self.began_nanos.saturating_sub(is_ready_since);
        let polled = now_nanos.saturating_sub(self.began_nanos);
        let local = this_thread();
        let threshold = Threshold::draw(local, period_nanos);
        // What took no time is below any threshold.
        if wait.max(ready).max(polled) > threshold.nanos {
            self.charge_due(task, store, threshold, [wait, ready, polled]);
        }
    }

    #[cold]
    #[inline(never)]
    fn charge_due(&self, task: &Entry, store: &Store, threshold: Threshold, nanos: [u64; 3]) {
        let Some(region) = store.own_region() else {
            return;
        };
        // In a child that was forked within the poll other records may stand where the buckets
        // did. Relaxed: written by `begin`.
        let begun_in = task.generation.load(Ordering::Relaxed).wrapping_sub(1);
        if begun_in >> 32 != u64::from(store.generation().made()) {
            return;
        }
        let before = &self.before;
        let made_by = [task.made_by.load(Ordering::Relaxed)];
        let kept = (before.leaf_count as usize).min(MOST_LEAVES);
        let stacks = match before.leaves.get(..kept) {
            Some(leaves) if kept != 0 => leaves,
            _ => made_by.as_slice(),
        };
        let local = this_thread();
        let parts = stacks.len() as u64;
        let [wait, ready, polled] = nanos;
        // A wait that was over before it began is none.
        let wait = match wait {
            0 => None,
            nanos => threshold.weigh(local, nanos, 1),
        };
        let (ready, polled) = (threshold.weigh_nanos(ready), threshold.weigh_nanos(polled));
        for (part, stack) in (0..parts).zip(stacks) {
            if let Some(bucket) = Offset::from_raw(*stack) {
                Ledger::count_of(region, ledger::Name::TASK, bucket, |cells| {
                    tally::add(cells, (part, parts), wait, ready, polled);
                });
            }
        }
    }
}

/// A poll that unwinds.
impl Drop for Polling {
    #[inline]
    fn drop(&mut self) {
        if self.task.is_some() {
            self.end(Outcome::Unwound);
        }
    }
}

/// The flags of a poll that begins.
fn flags_at(task: &Entry, word: Word) -> u64 {
    let counts = task.cell.counts();
    let begun = task.wakes(counts.wakes);
    let wakes = begun.wrapping_sub(task.seen.load(Ordering::Relaxed));
    task.seen.store(begun, Ordering::Relaxed);
    let mut flags = word.only(UNTRACKED | ROOT);
    if wakes > 1 || (wakes == 1 && word.has(DOUBT)) {
        flags |= DOUBT;
    }
    // Wakers come from wakers, or from a poll.
    if counts.references == 0 && task.lent() == 0 {
        flags |= ANEW;
    }
    flags
}

/// The future is polled with the executor's waker.
#[cold]
pub(super) fn note_untracked(task: &Entry) {
    let word = task.word();
    let flags = UNTRACKED | word.only(SELF_WOKEN | DOUBT | ROOT | PART);
    if !word.has(UNTRACKED) {
        task.enter(word.stage(), flags);
    }
}

/// In a fork's child, whose generation plus 1 this is: what was the parent's is not the child's,
/// but for the future.
#[cold]
fn renew(task: &Entry, generation: u64) {
    // Relaxed, all but the last: this is the poller.
    let before = task.generation.load(Ordering::Relaxed).wrapping_sub(1);
    if before >> 32 != (generation - 1) >> 32 {
        // Its buckets are gone.
        task.made_by.store(0, Ordering::Relaxed);
    }
    for leaf in &task.leaves {
        leaf.store(0, Ordering::Relaxed);
    }
    task.leaf_count.store(0, Ordering::Relaxed);
    task.woken_nanos.store(0, Ordering::Relaxed);
    let now_nanos = now_nanos();
    task.since_nanos.store(now_nanos, Ordering::Relaxed);
    task.created_nanos.store(now_nanos, Ordering::Relaxed);
    // Release: who sees that the task is of this generation does not see its buckets of the one
    // before. Pairs with the Acquire in `seen` of `look`.
    task.generation.store(generation, Ordering::Release);
    let word = task.word();
    let root = if word.has(ROOT) { ROOT } else { 0 };
    task.enter(Stage::Created, root | UNTRACKED);
}
