//! Standing: which threads stand still, and which of them may hold a lock.
//!
//! Context: cold. Twin of `standing_noop.rs`; no thread is disturbed.
//! Invariant: whoever is said not to hold a lock slept from before the first thread was
//! looked at for it until after the last one was, with no word near that lock on its
//! stack or in its registers. Whoever is not known to have slept may hold anything.
//!
//! ```text
//! look ──────── who is there, who sleeps, where, in which recorded wait
//! may_hold ──── stacks of those that sleep, searched for words near the locks
//! look_again ── whoever ran since `look` has not stood still after all
//! ```
//!
//! All that stood still did so at one instant, that between `may_hold` and
//! `look_again`; what was found is true of that instant.
//!
//! A lock that nobody had to wait for was taken without a trace. But who holds it must
//! let it go, and for that the address must be had: a guard is on its holder's stack or in
//! its registers, or what it can be computed from is, the structure that the lock
//! is in ([`REACH_BYTES`]). What this cannot see is told in docs/deadlocks.md.

use std::collections::{HashMap, HashSet};

use super::Tasks;
use super::look::{Looker, Place, is_gone};
use super::tasks;
use crate::stack::backend::Leaf;
use crate::stack::{MAX_DEPTH, platform, spilled};
use crate::sys::copy;
use crate::threads::dump::{Name, State};
use crate::threads::lock_address::{LockAddress, StandingWait};
use crate::waits::Operation;
use crate::{global, own_threads, sys};
use maps::{Map, Maps};
pub use search::REACH_BYTES;
use search::Search;

pub(crate) mod maps;
mod search;

/// Who asks for a look, and since when: what its stack has below was put there by everprof, which
/// has the locks' addresses and holds none of them.
#[derive(Clone, Copy, Debug)]
pub struct WhoAsks {
    tid: u32,
    /// Where its registers stand, as they were when it called.
    sp: u64,
}

impl WhoAsks {
    /// Runs `call`, in which nothing of the program's is run, on this thread, which asks.
    ///
    /// Never inlined: what the caller has must not come to stand among what is below.
    #[inline(never)]
    pub fn this_thread<R>(call: impl FnOnce(Self) -> R) -> R {
        let tid = sys::thread_id();
        spilled::around_at(|sp| call(Self { tid, sp }))
    }
}

/// Deeper stacks are not read: their threads may hold anything.
const MOST_STACK_BYTES: u64 = 8 << 20;

/// The threads of this process as they stood at one time, everprof's own left out.
#[derive(Debug)]
pub struct Standing {
    process: u32,
    tasks: Tasks,
    maps: Maps,
    rows: Vec<Row>,
    frames: Vec<u64>,
    /// Somebody may be missing in `rows`.
    incomplete: bool,
    asker: WhoAsks,
}

/// One thread of a [`Standing`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StandingThread<'s> {
    /// The kernel's number of it.
    pub id: u32,
    /// At most 15 bytes.
    pub name: &'s [u8],
    /// The wait that it is in, if that is recorded and it sleeps there.
    pub wait: Option<&'s StandingWait>,
    /// Leaf first; empty where it is in no wait that only another thread can end.
    pub stack: &'s [u64],
}

#[derive(Debug)]
struct Row {
    id: u32,
    name: Name,
    /// What it was seen asleep with; `None`: it ran, or nobody knows.
    asleep: Option<Asleep>,
    /// The part of its stack that is in use, where its registers stand on it.
    still: Option<Still>,
    wait: Option<StandingWait>,
    first: usize,
    depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asleep {
    cpu_nanos: u64,
    pc: u64,
    sp: u64,
}

#[derive(Clone, Copy, Debug)]
struct Still {
    thread_pointer: u64,
    limit: u64,
    map: Map,
}

impl Standing {
    /// Takes a look at every thread. `None`: this platform does not tell.
    ///
    /// The stacks of those are walked whose wait was under way at `until_nanos` of the
    /// clock of waits.
    #[must_use]
    pub fn look(until_nanos: u64, asker: WhoAsks) -> Option<Self> {
        let before = global::exclude_this_thread(true);
        let looked = Self::look_excluded(until_nanos, asker);
        global::exclude_this_thread(before);
        looked
    }

    fn look_excluded(until_nanos: u64, asker: WhoAsks) -> Option<Self> {
        let mut tasks = Tasks::open()?;
        let mut list = Vec::new();
        let incomplete = !(0..LISTS).any(|_| tasks.list(0, &mut list));
        let mut standing = Self {
            process: sys::process_id(),
            tasks,
            maps: Maps::default(),
            rows: Vec::with_capacity(list.len()),
            frames: Vec::new(),
            incomplete,
            asker,
        };
        for id in list {
            if !own_threads::contains(id) {
                standing.add(id);
            }
        }
        // After the threads: a stack that one of them sleeps on stays mapped.
        standing.maps = Maps::read()?;
        let waits = waits_by_thread();
        let mut looker = Looker::new();
        let mut out = Box::new([0; MAX_DEPTH]);
        for row in &mut standing.rows {
            let Some(asleep) = row.asleep else {
                continue;
            };
            row.still = still(standing.process, row.id, &asleep, &standing.maps);
            let own = waits.get(&row.id).map_or(&[][..], Vec::as_slice);
            row.wait = own.iter().find(|wait| is_of(wait, &asleep)).copied();
            if let Some(wait) = &row.wait
                && is_others(wait)
                && wait.since_nanos <= until_nanos
            {
                let (pc, sp) = (asleep.pc, asleep.sp);
                let captured = looker.walk((pc, sp), Leaf::InCall, out.as_mut_slice());
                row.first = standing.frames.len();
                row.depth = captured.depth;
                let stack = out.get(..captured.depth).unwrap_or(&[]);
                standing.frames.extend_from_slice(stack);
            }
        }
        Some(standing)
    }

    /// The threads, the oldest first. Their places in this order are how the
    /// other functions number them.
    pub fn threads(&self) -> impl ExactSizeIterator<Item = StandingThread<'_>> {
        self.rows.iter().map(|row| StandingThread {
            id: row.id,
            name: row.name.bytes(),
            wait: row.wait.as_ref(),
            stack: self
                .frames
                .get(row.first..row.first + row.depth)
                .unwrap_or(&[]),
        })
    }

    /// For each lock, every thread that may hold it. `None`: whoever holds it may be no
    /// thread of this process, or one that nobody knows of.
    #[must_use]
    pub fn may_hold(&self, locks: &[LockAddress]) -> Vec<Option<Vec<usize>>> {
        let mut sorted: Vec<LockAddress> = locks.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let maps: Vec<Option<Map>> = sorted.iter().map(|lock| self.maps.at(lock.get())).collect();
        let mut holders: Vec<Vec<usize>> = vec![Vec::new(); sorted.len()];
        for (index, row) in self.rows.iter().enumerate() {
            let mut search = Search::new(self.process, &sorted);
            let searched = match (&row.still, &row.asleep) {
                (Some(still), Some(asleep)) => search.stack(self.start(row, asleep), still.limit),
                _ => false,
            };
            for ((holders, map), met) in holders.iter_mut().zip(&maps).zip(&search.met) {
                let is_reached_without_pointer = match map {
                    None => true,
                    Some(map) => map.is_static || row.still.is_some_and(|s| s.map == *map),
                };
                if !searched || is_reached_without_pointer || *met {
                    holders.push(index);
                }
            }
        }
        let of = |lock: &LockAddress| {
            let n = sorted.binary_search(lock).ok()?;
            let is_shared = maps.get(n)?.is_none_or(|map| map.is_shared);
            (!is_shared && !self.incomplete)
                .then(|| holders.get(n).cloned())
                .flatten()
        };
        locks.iter().map(of).collect()
    }

    /// Which of these locks stand in memory that the stack of a thread leads to, by their
    /// very addresses, as in a guard. For those that are about to be said to be deadlocked: a
    /// closer look than `may_hold` has, which takes a hundred times as long.
    #[must_use]
    pub fn leads_to(&self, thread: usize, locks: &[LockAddress]) -> Vec<bool> {
        let mut sorted: Vec<LockAddress> = locks.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut search = Search::new(self.process, &sorted);
        // In ours stand the locks that are waited for.
        let recorded = global::store()
            .own_region()
            .map_or(0..0, |region| region.addresses());
        // What is on another thread's stack is that one's; a handle of a thread is the
        // address of the block behind it.
        let is_on_a_stack = |word: u64| {
            let stacks = self.rows.iter().filter_map(|row| row.still);
            stacks
                .into_iter()
                .any(|still| (still.map.start..still.limit + THREAD_BYTES).contains(&word))
        };
        let row = self.rows.get(thread);
        let searched = match row.map(|row| (row, &row.still, &row.asleep)) {
            Some((row, Some(still), Some(asleep))) => search.behind(
                (self.start(row, asleep), still.limit),
                &self.maps,
                &recorded,
                is_on_a_stack,
            ),
            _ => false,
        };
        let of = |lock: &LockAddress| match sorted.binary_search(lock) {
            Ok(n) => !searched || search.met.get(n) == Some(&true),
            Err(_) => true,
        };
        locks.iter().map(of).collect()
    }

    /// From where on the stack of a thread that sleeps may lead to what it holds.
    fn start(&self, row: &Row, asleep: &Asleep) -> u64 {
        let WhoAsks { tid, sp } = self.asker;
        let is_on_it = row
            .still
            .is_some_and(|still| (asleep.sp..still.limit).contains(&sp));
        if row.id == tid && is_on_it {
            sp
        } else {
            asleep.sp
        }
    }

    /// The thread that holds the lock of C's that `wait` is for, where that lock says so.
    #[must_use]
    pub fn owner(&self, wait: &StandingWait) -> Option<usize> {
        let offset = owner_offset(wait.operation)?;
        let mut word = [0];
        let address = wait.address.get().wrapping_add(offset);
        let aligned = address & !7;
        // Of a word of ours the half that the number is.
        if copy(self.process.cast_signed(), aligned, &mut word) != size_of::<u64>() {
            return None;
        }
        let [word] = word;
        let half = if address == aligned { word } else { word >> 32 };
        let tid = half as u32;
        self.rows.iter().position(|row| tid != 0 && row.id == tid)
    }

    /// The thread that C knows by this number, if it stands still.
    #[must_use]
    pub fn thread_of(&self, pthread: u64) -> Option<usize> {
        // The distance is the same in all threads of a C library.
        // SAFETY: only asks who we are.
        let this = unsafe { libc::pthread_self() } as u64;
        let distance = platform::thread_pointer().wrapping_sub(this);
        let pointer = pthread.wrapping_add(distance);
        let is_it = |row: &Row| row.still.is_some_and(|s| s.thread_pointer == pointer);
        self.rows.iter().position(is_it)
    }

    /// Looks at every thread once more: whoever is not as it was has not stood still, and
    /// may hold anything. True: all that stood still do so yet, and nobody has come.
    pub fn look_again(&mut self) -> bool {
        let before = global::exclude_this_thread(true);
        let mut same = true;
        let now = waits_by_thread();
        for row in &mut self.rows {
            let Some(asleep) = row.asleep else {
                continue;
            };
            let own = now.get(&row.id).map_or(&[][..], Vec::as_slice);
            let slept = row.wait.is_none_or(|wait| own.contains(&wait))
                && seen_asleep(&self.tasks, row.id) == Some(asleep);
            if !slept {
                same = false;
                row.asleep = None;
                row.still = None;
                row.wait = None;
            }
        }
        let known: HashSet<u32> = self.rows.iter().map(|row| row.id).collect();
        let mut list = Vec::new();
        let whole = (0..LISTS).any(|_| self.tasks.list(0, &mut list));
        let is_new = |id: &u32| !known.contains(id) && !own_threads::contains(*id);
        if !whole || list.iter().any(is_new) {
            same = false;
            self.incomplete = true;
        }
        global::exclude_this_thread(before);
        same
    }

    /// Whether no thread can be missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.incomplete
    }

    /// Whether a thread stands still, as far as was looked.
    #[must_use]
    pub fn is_still(&self, thread: usize) -> bool {
        self.rows.get(thread).is_some_and(|row| row.still.is_some())
    }

    fn add(&mut self, id: u32) {
        let mut line = [0; 32];
        let name = match self.tasks.read(id, tasks::COMM, &mut line) {
            Ok(line) => Name::from_line(line),
            // It ended, and holds nothing.
            Err(error) if is_gone(&error) => return,
            Err(_) => Name::default(),
        };
        self.rows.push(Row {
            id,
            name,
            asleep: seen_asleep(&self.tasks, id),
            still: None,
            wait: None,
            first: 0,
            depth: 0,
        });
    }
}

/// What a thread sleeps with, if it sleeps in a call.
fn seen_asleep(tasks: &Tasks, id: u32) -> Option<Asleep> {
    let cpu_nanos = sys::thread_cpu_nanos(id)?;
    let mut line = [0; 256];
    let line = tasks.read(id, tasks::SYSCALL, &mut line).ok()?;
    match Place::parse(line) {
        Place::Asleep(State::InCall { .. }, (pc, sp)) => Some(Asleep { cpu_nanos, pc, sp }),
        _ => None,
    }
}

/// Who is in which waits.
fn waits_by_thread() -> HashMap<u32, Vec<StandingWait>> {
    let mut waits: HashMap<u32, Vec<StandingWait>> = HashMap::new();
    global::waits().for_each_blocked(|wait| {
        let own = waits.entry(wait.tid).or_default();
        own.push(StandingWait::of(wait));
    });
    waits
}

/// Whether a recorded wait is the call that the thread sleeps in, and not one that a
/// handler has interrupted.
fn is_of(wait: &StandingWait, asleep: &Asleep) -> bool {
    wait.sp.wrapping_sub(asleep.sp) <= spilled::MOST_BYTES_BELOW
}

/// Whether only another thread can end the wait.
fn is_others(wait: &StandingWait) -> bool {
    let is_others = matches!(
        wait.operation,
        Operation::Futex | Operation::Lock | Operation::Rwlock | Operation::Join
    );
    is_others && !wait.timed
}

/// Where the stack of a thread that sleeps ends, if its registers are spilled.
fn still(process: u32, id: u32, asleep: &Asleep, maps: &Maps) -> Option<Still> {
    let mut words = [0; PAGE_WORDS];
    let start = asleep.sp & !7;
    let within = spilled::MOST_BYTES_BELOW as usize / 8;
    let words = words.get_mut(..within + 2)?;
    let bytes = copy(process.cast_signed(), start, words);
    let words = words.get(..bytes / 8)?;
    let thread_pointer = words
        .windows(2)
        .enumerate()
        .find_map(|(n, pair)| match pair {
            [mark, thread] if *mark == spilled::mark(start + 8 * n as u64) => Some(*thread),
            _ => None,
        })?;
    let map = maps.at(asleep.sp)?;
    // On other threads C libraries put the thread's own block behind its stack. Where
    // that is not so, it sleeps on another one: a handler's, a coroutine's.
    let limit = if id == process {
        map.is_first_stack.then_some(map.limit)?
    } else {
        (asleep.sp..map.limit)
            .contains(&thread_pointer)
            .then_some(thread_pointer)?
    };
    (limit - asleep.sp <= MOST_STACK_BYTES).then_some(Still {
        thread_pointer,
        limit,
        map,
    })
}

/// Where in a lock of C's its owner's number stands: `__owner` of glibc's
/// `pthread_mutex_t` and `__cur_writer` of its `pthread_rwlock_t`, which are part of its ABI
/// (`sysdeps/nptl/bits/struct_mutex.h`, `struct_rwlock.h`: static initialisers).
#[cfg(target_env = "gnu")]
fn owner_offset(operation: Operation) -> Option<u64> {
    match operation {
        Operation::Lock => Some(8),
        Operation::Rwlock => Some(24),
        _ => None,
    }
}

/// musl's say so only for some kinds.
#[cfg(not(target_env = "gnu"))]
fn owner_offset(_operation: Operation) -> Option<u64> {
    None
}

/// More than the C library's block of a thread (glibc's has 2,304), less than what is left
/// of the mapping it is in.
const THREAD_BYTES: u64 = 4096;
/// A gap in the list of threads is an accident that seldom happens twice.
const LISTS: u32 = 4;
const PAGE_WORDS: usize = 512;

#[cfg(test)]
mod tests;
