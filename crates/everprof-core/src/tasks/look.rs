//! Look: all watched futures as they are now.
//!
//! Context: cold; nobody waits for it, and nothing is polled for it. Invariant: what is told of
//! a task is of one moment between two of its polls, or it is told as being polled.
//!
//! **Leaked for certain.** A task waits, nobody has woken it since, and nobody has a waker of
//! it: then nobody can ever wake it, as new wakers come from old ones or from polls. If an
//! executor alone polls it, it never runs again. One that is part of others never runs
//! again if all of those do not. Looked at is first each task, then whether any of them has
//! changed since: what was true of all of them at once stays true.

use std::collections::HashMap;

use super::capture::WOKE_ITSELF;
use super::entry::{
    DOUBT, Entry, Kind, MOST_LEAVES, PART, ROOT, SELF_WOKEN, Stage, UNTRACKED, Word,
};
use super::reach;
use super::wanted::How;
use crate::arena::Offset;
use crate::global;
use crate::ledger::{self, Ledger};
use crate::store::Store;
use crate::sync::Ordering;
use crate::waits::now_nanos;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was made, and has not been polled.
    NotPolledYet,
    /// It is being polled.
    Running {
        /// On this thread.
        tid: u32,
    },
    /// It waits to be woken.
    Waiting,
    /// It was woken and has not been polled since.
    Woken {
        /// When it was woken first.
        since_nanos: u64,
        /// It woke itself, to let others have their turn.
        by_itself: bool,
    },
}

/// Who can wake a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakers {
    /// So many wakers of it are kept somewhere.
    Kept(u32),
    /// There may be others: it was polled once while tasks were not watched.
    Unknown,
}

/// Whether a task can run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leak {
    /// As far as can be seen.
    No,
    /// Never: no waker of it exists any more.
    Certain,
    /// Nobody has a waker of it; whether somebody polls it without being asked is not known.
    Unwakeable,
    /// All its wakers are in memory that, as far as can be seen, it alone can reach.
    Suspected,
}

/// One task.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its number.
    pub id: u64,
    /// The task that polls it; 0: an executor, or a future that is not watched.
    pub parent: u64,
    /// The task that made it; 0: none.
    pub maker: u64,
    /// What it is.
    pub kind: &'static Kind,
    /// What it does.
    pub state: State,
    /// Since when: for one that was woken, since when it waits.
    pub since_nanos: u64,
    /// When it was made.
    pub created_nanos: u64,
    /// The label set that it was made with; 0: none.
    pub labels: u32,
    /// Who made it; 0: not known.
    pub made_by: u32,
    /// Where it waits: buckets, of which the first `leaf_count` are its own.
    leaves: [u32; MOST_LEAVES],
    /// Stacks in which it waits, of which [`MOST_LEAVES`] are kept.
    pub leaf_count: u32,
    /// Who can wake it.
    pub wakers: Wakers,
    /// Whether it can run again.
    pub leak: Leak,
    pub(super) entry: &'static Entry,
    pub(super) word: Word,
}

impl Seen {
    /// The buckets of the stacks in which it waits.
    #[must_use]
    pub fn leaves(&self) -> &[u32] {
        let kept = (self.leaf_count as usize).min(MOST_LEAVES);
        self.leaves.get(..kept).unwrap_or(&[])
    }

    /// Wakers that are kept; 0, where that is not known.
    fn wakers(&self) -> u32 {
        match self.wakers {
            Wakers::Kept(count) => count,
            Wakers::Unknown => 0,
        }
    }

    /// Nobody has woken it, and nobody has a waker.
    fn is_unwakeable(&self) -> bool {
        self.state == State::Waiting && self.wakers == Wakers::Kept(0) && !self.word.has(DOUBT)
    }
}

/// All tasks at a time.
#[derive(Debug)]
pub struct Look {
    /// By their numbers.
    pub tasks: Vec<Seen>,
    /// Futures that are there and not seen, for want of memory.
    pub lost: usize,
    /// The time of it, on the clock that all times are told by.
    pub now_nanos: u64,
    ledger: Option<Ledger<'static>>,
}

/// A stack that a task stands in, or was made in.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// Return addresses, leaf first.
    pub addresses: &'static [u64],
    /// Why it was captured; `None`: lost.
    pub how: Option<How>,
    /// The label set in force there; 0: none.
    pub labels: u32,
}

/// How many are seen, and how many are not.
#[must_use]
pub fn counts() -> (usize, usize) {
    let store = global::store();
    let Some(generation) = generation_now(store) else {
        return (0, 0);
    };
    let tasks = global::tasks();
    let is_there = |entry: &&Entry| {
        entry.word().stage() != Stage::Free
            // Relaxed: a figure.
            && entry.generation.load(Ordering::Relaxed) == generation
    };
    (tasks.iter().filter(is_there).count(), tasks.lost())
}

/// Looks at all tasks. With the stack pointer of whoever asks, on another thread, also whose
/// wakers only they themselves can reach.
#[must_use]
pub fn look(asker: Option<u64>) -> Look {
    let store = global::store();
    let mut look = Look {
        tasks: Vec::new(),
        lost: global::tasks().lost(),
        now_nanos: now_nanos(),
        ledger: None,
    };
    let Some(generation) = generation_now(store) else {
        return look;
    };
    look.ledger = store
        .own_region()
        .and_then(|region| Ledger::open(region, ledger::Name::TASK));
    let made = store.generation().made();
    look.tasks.reserve(global::tasks().len());
    for entry in global::tasks().iter() {
        look.tasks.extend(seen(entry, generation, made));
    }
    look.now_nanos = now_nanos();
    look.tasks.sort_unstable_by_key(|task| task.id);
    find_leaks(&mut look.tasks, asker);
    look
}

impl Look {
    /// The stack of a bucket.
    #[must_use]
    pub fn stack(&self, bucket: u32) -> Option<Stack> {
        let key = self.ledger?.table.key(Offset::from_raw(bucket)?)?;
        Some(Stack {
            addresses: key.stack,
            how: How::of_number(key.extra),
            labels: key.labels,
        })
    }
}

fn generation_now(store: &Store) -> Option<u64> {
    store.own_region()?;
    Some(store.generation().to_bits() + 1)
}

/// What an entry tells; nothing, if it is free or of a fork's parent.
fn seen(entry: &'static Entry, generation: u64, made: u32) -> Option<Seen> {
    for _ in 0..TRIES {
        let word = entry.word();
        if word.stage() == Stage::Free
            // Acquire: pairs with the Release in `renew`, which changes fields within a stage.
            || entry.generation.load(Ordering::Acquire) != generation
        {
            return None;
        }
        let Some(seen) = read(entry, word, made) else {
            continue;
        };
        if entry.is_still(word) {
            return Some(seen);
        }
    }
    // It is polled all the time: where it waits, it does for no time.
    let word = entry.word();
    let mut seen = read(entry, word, made).filter(|_| word.stage() != Stage::Free)?;
    seen.state = State::Running {
        // Relaxed: a figure.
        tid: entry.tid.load(Ordering::Relaxed),
    };
    seen.leaf_count = 0;
    Some(seen)
}

fn read(entry: &'static Entry, word: Word, made: u32) -> Option<Seen> {
    // Relaxed, all fields: read between two looks at the stage.
    let number = |cell: &crate::sync::AtomicU64| cell.load(Ordering::Relaxed);
    let kind = entry.kind.load(Ordering::Relaxed);
    // SAFETY: null, or what `task` stored, a `&'static Kind`.
    let kind: &'static Kind = unsafe { kind.as_ref() }?;
    // New ones come from old ones, of the same cell, or from polls: so if there are none of the
    // task's own, and then no lent cell, there is none, unless a poll was in between.
    let counts = entry.cell.counts();
    let wakers = match word.has(UNTRACKED) {
        true => Wakers::Unknown,
        // A lent cell is there only while somebody has a waker of it.
        false => Wakers::Kept(counts.references + entry.lent()),
    };
    // Behind the cells, so that the mark of a waker that is gone is seen.
    let is_woken = entry.wakes(counts.wakes) != entry.seen.load(Ordering::Relaxed);
    let state = match word.stage() {
        Stage::Free | Stage::Created => State::NotPolledYet,
        Stage::Polled => State::Running {
            tid: entry.tid.load(Ordering::Relaxed),
        },
        Stage::Waiting if is_woken => State::Woken {
            since_nanos: number(&entry.woken_nanos),
            by_itself: word.has(SELF_WOKEN),
        },
        Stage::Waiting => State::Waiting,
    };
    let mut leaves = [0; MOST_LEAVES];
    for (copy, leaf) in leaves.iter_mut().zip(&entry.leaves) {
        *copy = leaf.load(Ordering::Relaxed);
    }
    let is_polled = matches!(state, State::Running { .. } | State::NotPolledYet);
    let leaf_count = entry.leaf_count.load(Ordering::Relaxed) & !WOKE_ITSELF;
    Some(Seen {
        id: number(&entry.id),
        parent: match word.has(PART) {
            true => number(&entry.parent),
            false => 0,
        },
        maker: number(&entry.maker),
        kind,
        state,
        since_nanos: number(&entry.since_nanos),
        created_nanos: number(&entry.created_nanos),
        labels: entry.labels().set_in(made),
        made_by: entry.made_by.load(Ordering::Relaxed),
        leaves,
        leaf_count: if is_polled { 0 } else { leaf_count },
        wakers,
        leak: Leak::No,
        entry,
        word,
    })
}

/// Tells of each task whether it can run again. They are sorted by their numbers.
fn find_leaks(tasks: &mut [Seen], asker: Option<u64>) {
    let unwakeable: HashMap<u64, usize> = tasks
        .iter()
        .enumerate()
        .filter(|(_, task)| task.is_unwakeable())
        .map(|(at, task)| (task.id, at))
        .collect();
    let mut certain = Vec::new();
    for &at in unwakeable.values() {
        if never_runs(tasks, &unwakeable, at) {
            certain.push(at);
        }
    }
    for (_, at) in unwakeable {
        if let Some(task) = tasks.get_mut(at) {
            task.leak = Leak::Unwakeable;
        }
    }
    for at in certain {
        if let Some(task) = tasks.get_mut(at) {
            task.leak = Leak::Certain;
        }
    }
    let Some(asker) = asker else {
        return;
    };
    let waiting: Vec<usize> = (0..tasks.len())
        .filter(|at| tasks[*at].state == State::Waiting && tasks[*at].wakers() > 0)
        .collect();
    let asked: Vec<reach::Asked> = waiting
        .iter()
        .map(|at| reach::Asked {
            entry: tasks[*at].entry,
            word: tasks[*at].word,
            size_bytes: tasks[*at].kind.size_bytes,
            wakers: tasks[*at].wakers(),
        })
        .collect();
    let alone = reach::alone(&asked, asker).unwrap_or_default();
    for (at, alone) in waiting.into_iter().zip(alone) {
        let task = &mut tasks[at];
        if alone && task.entry.is_still(task.word) {
            task.leak = Leak::Suspected;
        }
    }
}

/// Whether neither the task nor any that it is part of can be woken, and an executor alone
/// polls the outermost one.
fn never_runs(tasks: &[Seen], unwakeable: &HashMap<u64, usize>, at: usize) -> bool {
    let mut next = Some(at);
    let mut chain = Vec::new();
    while let Some(task) = next.and_then(|at| tasks.get(at)) {
        chain.push(task);
        if task.parent == 0 {
            // All of them at once: none has changed since it was looked at.
            return task.word.has(ROOT) && chain.iter().all(|task| task.entry.is_still(task.word));
        }
        // A loop there cannot be, but who knows who reads this after a fork.
        if chain.len() > tasks.len() {
            return false;
        }
        next = unwakeable.get(&task.parent).copied();
    }
    false
}

/// Looks at one task before it is taken for being polled.
const TRIES: usize = 4;
