//! Collecting on Linux: looks at every thread, asks those that run.
//!
//! Context: cold. Twin of `noop.rs`.
//! Invariant: every thread that is met has one row, with a stack or the reason why there is none.
//!
//! ```text
//!            ┌─ in a wait that is recorded, whole stack ─────→ Recorded
//!            ├─ asleep, whole stack ────────────────────────→ Outside
//! first look ┼─ asleep, stack cut ─┬─ call goes on ─→ ask
//!            │                     └─ EINTR ────────────────→ Outside, cut
//!            └─ running ─ look again ─┬─ asleep: as above
//!                                     ├─ ran on, never slept ─→ ask
//!                                     └─ patience over ─────→ NoProcessor
//! ask ─┬─ blocks the signal ────────────────────────────────→ SignalBlocked
//!      └─ signal ─┬─ slot done ─────────────────────────────→ Signalled
//!                 ├─ thread is gone ────────────────────────→ Exited
//!                 └─ patience over ─────────────────────────→ NoAnswer
//! ```

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use asked::{Answer, Pool, Question};
use blocked::Recorded;
use look::{Asleep, Looker, Seen};
use names::Names;
pub(super) use process::before_exec;
use process::{Process, SENDS};
use tasks::Tasks;

use super::dump::{Collected, Dump, Missing, Row, Source, State};
use crate::stack::{self, Captured, MAX_DEPTH, Registers, StackEnd};
use crate::{clock, global, labels, local, own_threads, sys};

mod asked;
mod blocked;
mod calls;
mod look;
mod names;
mod process;
mod sends;
mod standing;
mod tasks;

pub use sends::Exec;
pub(crate) use standing::maps::Maps;
pub use standing::{REACH_BYTES, Standing, StandingThread, WhoAsks};

/// A dump, shared with whoever asks at the same time.
pub(super) fn collect(patience: Duration) -> Dump {
    let process = Process::this();
    process.turn.share(|| {
        // What a dump allocates is not the program's.
        let before = global::exclude_this_thread(true);
        let collected = Collection::make(process, patience);
        global::exclude_this_thread(before);
        Dump::new(collected)
    })
}

/// Processor time, spent without a sleep, after which a thread counts as busy: it has left
/// the call that it may have been woken from (1 to 3 µs), and is not one of those that
/// wake, do some 10 µs of work and sleep again. 20 µs were tried: on a loaded machine such
/// work takes 30, and one sleep in some 20,000 was interrupted.
const BUSY_NANOS: u64 = 200_000;

/// How long ago a thread may have been seen running when the signal is sent: 2 µs are
/// usual. Where this thread was held up meanwhile, the other one may sleep by now.
const FRESH_NANOS: u64 = 20_000;

/// How long answers are looked for without a pause. Far more than a signal and a walk take, far
/// less than a pause.
const SOON_NANOS: u64 = 20_000;

/// Lists of threads until one brings nothing new. Each brings what was born during the
/// one before; a program that outruns sixteen of them never stands still.
const MOST_LISTS: u32 = 16;

/// A collection under way.
struct Collection {
    /// The process, and the thread that collects.
    process: u32,
    this: u32,
    collected: Collected,
    tasks: Tasks,
    recorded: Recorded,
    looker: Looker,
    names: MutexGuard<'static, Names>,
    pool: Option<&'static Pool>,
    signal: Option<i32>,
    /// The number of its first question.
    first: u64,
    /// How many it has asked.
    asked: u64,
    pending: Vec<Pending>,
    out: Box<[u64; MAX_DEPTH]>,
}

/// A thread that has no row yet.
struct Pending {
    id: u32,
    state: State,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Found running, when it had taken so much processor time and slept so often.
    Running { cpu_nanos: u64, times_asleep: u64 },
    /// Found asleep, but not twice the same.
    Restless,
    /// To be asked, when there is a place to answer.
    ToAsk,
    /// Asked.
    Asked(Question),
    /// It has its row.
    Over,
}

impl Collection {
    fn make(process: &'static Process, patience: Duration) -> Collected {
        clock::look();
        let start = sys::monotonic_nanos();
        let patience_nanos = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let collected = Collected {
            rows: Vec::new(),
            frames: Vec::new(),
            supported: false,
            complete: false,
            unix_nanos: sys::unix_nanos(),
            duration_nanos: 0,
        };
        let Some(tasks) = Tasks::open() else {
            return collected;
        };
        // Whoever panicked had at most forgotten some.
        let mut names = process.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.begin();
        let mut collection = Self {
            process: sys::process_id(),
            this: sys::thread_id(),
            collected,
            tasks,
            recorded: Recorded::now(),
            looker: Looker::new(),
            names,
            pool: process.pool.as_ref(),
            signal: asked::install(),
            first: asked::next_number(),
            asked: 0,
            pending: Vec::new(),
            out: Box::new([0; MAX_DEPTH]),
        };
        collection.collected.supported = true;
        collection.visit_all();
        let deadline = sys::monotonic_nanos().saturating_add(patience_nanos);
        collection.settle(deadline);
        let mut collected = collection.collected;
        collected.duration_nanos = sys::monotonic_nanos().saturating_sub(start);
        collected
    }

    /// Takes a first look at every thread, until there is none that was not looked at.
    ///
    /// New threads stand behind all older ones in the kernel's list, so that a later look
    /// at the list need only begin at one that is known.
    fn visit_all(&mut self) {
        let mut known = HashSet::new();
        let mut list = Vec::new();
        let mut from = 0;
        for _ in 0..MOST_LISTS {
            let whole = self.tasks.list(from, &mut list);
            if from != 0 && !list.first().is_some_and(|first| known.contains(first)) {
                from = 0;
                continue;
            }
            let mut news = false;
            for &id in &list {
                if known.insert(id) {
                    news = true;
                    self.visit(id);
                }
            }
            if whole && !news {
                self.collected.complete = true;
                return;
            }
            // If the list had a gap it is read anew from its beginning.
            from = if whole { self.tasks.tail() } else { 0 };
        }
    }

    fn visit(&mut self, id: u32) {
        if own_threads::contains_of(self.process, id) {
            return;
        }
        if id == self.this {
            let registers = Registers::here();
            let (captured, labels) = local::with(|local| {
                let out = self.out.as_mut_slice();
                let captured = stack::capture(&registers, &local.stack, out, &(0..0));
                (captured, labels::in_force(global::store(), local))
            });
            let found = Found::awake(State::Running, Source::Itself, captured, Some(labels));
            return self.add(id, found);
        }
        let recorded = self
            .recorded
            .stack_of(id, &mut self.looker, self.out.as_mut_slice());
        if let Some((wait, captured, cpu_nanos)) = recorded {
            let found = Found {
                state: State::Unknown,
                source: Source::Recorded(wait),
                captured,
                labels: Some(wait.labels),
                cpu_nanos: Some(cpu_nanos),
            };
            return self.add(id, found);
        }
        let mut pending = Pending {
            id,
            state: State::Unknown,
            phase: Phase::Restless,
        };
        self.look(&mut pending);
        if !matches!(pending.phase, Phase::Over) {
            self.pending.push(pending);
        }
    }

    /// Looks once more at a thread that was not asked.
    fn look(&mut self, pending: &mut Pending) {
        let seen = self
            .looker
            .look(&self.tasks, pending.id, self.out.as_mut_slice());
        pending.phase = match seen {
            Seen::Gone => self.miss(pending, Missing::Exited),
            Seen::Asleep(asleep) if asleep.is_whole() || !calls::goes_on(asleep.state) => {
                self.add(pending.id, asleep.into());
                Phase::Over
            }
            Seen::Asleep(asleep) => {
                pending.state = asleep.state;
                Phase::ToAsk
            }
            Seen::Running(cpu_nanos) => {
                pending.state = State::Running;
                self.run_on(pending, cpu_nanos)
            }
            Seen::Restless => Phase::Restless,
            Seen::Unknown => Phase::ToAsk,
        };
    }

    /// A thread that runs, and had taken so much processor time just before.
    fn run_on(&mut self, pending: &Pending, cpu_nanos: u64) -> Phase {
        let Some(status) = self.tasks.status(pending.id) else {
            return self.miss(pending, Missing::Exited);
        };
        let Some(signal) = self.signal else {
            return self.miss(pending, Missing::NoSignal);
        };
        let times_asleep = status.times_asleep;
        let Phase::Running {
            cpu_nanos: first_nanos,
            times_asleep: first_times,
        } = pending.phase
        else {
            return Phase::Running {
                cpu_nanos,
                times_asleep,
            };
        };
        if times_asleep != first_times {
            return Phase::Running {
                cpu_nanos,
                times_asleep,
            };
        }
        if cpu_nanos.saturating_sub(first_nanos) < BUSY_NANOS {
            return pending.phase;
        }
        // Not sooner: a thread is born, and ends, with all signals blocked.
        if status.blocks(signal) {
            return self.miss(pending, Missing::SignalBlocked);
        }
        let Ok(file) = self.tasks.file(pending.id, tasks::SYSCALL) else {
            return self.miss(pending, Missing::Exited);
        };
        // From here on every instruction counts.
        let seen_nanos = sys::monotonic_nanos();
        if look::is_running(&file) && sys::monotonic_nanos() - seen_nanos < FRESH_NANOS {
            self.ask(pending, signal)
        } else {
            pending.phase
        }
    }

    /// Brings every pending thread to its row.
    fn settle(&mut self, deadline: u64) {
        let mut pending = std::mem::take(&mut self.pending);
        let start = sys::monotonic_nanos();
        loop {
            let asked_before = self.asked;
            for thread in &mut pending {
                self.go_on(thread);
            }
            if self.asked != asked_before {
                self.hear_soon(&mut pending);
            }
            pending.retain(|thread| !matches!(thread.phase, Phase::Over));
            let now = sys::monotonic_nanos();
            if pending.is_empty() || now >= deadline {
                break;
            }
            // An eighth of the time waited so far, and at most a millisecond.
            for _ in 0..((now - start) / 8 / 50_000).clamp(1, 20) {
                sys::pause_briefly();
            }
        }
        for thread in &mut pending {
            self.give_up(thread);
        }
    }

    /// For those that were just asked: whoever has a processor answers in a few microseconds, and
    /// a pause takes a hundred.
    fn hear_soon(&mut self, pending: &mut [Pending]) {
        let start = sys::monotonic_nanos();
        loop {
            let mut is_any = false;
            for thread in &mut *pending {
                if let Phase::Asked(question) = thread.phase {
                    thread.phase = self.hear(thread, question);
                    is_any |= matches!(thread.phase, Phase::Asked(_));
                }
            }
            if !is_any || sys::monotonic_nanos() - start >= SOON_NANOS {
                return;
            }
            core::hint::spin_loop();
        }
    }

    fn go_on(&mut self, thread: &mut Pending) {
        if let Phase::Running { .. } | Phase::Restless = thread.phase {
            self.look(thread);
        }
        if let Phase::ToAsk = thread.phase {
            thread.phase = self.ask_in_call(thread);
        }
        if let Phase::Asked(question) = thread.phase {
            thread.phase = self.hear(thread, question);
        }
    }

    /// Asks a thread whose call goes on afterwards.
    fn ask_in_call(&mut self, thread: &Pending) -> Phase {
        match (self.signal, self.tasks.status(thread.id)) {
            (None, _) => self.miss(thread, Missing::NoSignal),
            (_, None) => self.miss(thread, Missing::Exited),
            (Some(signal), Some(status)) if status.blocks(signal) => {
                self.miss(thread, Missing::SignalBlocked)
            }
            (Some(signal), Some(_)) => self.ask(thread, signal),
        }
    }

    fn ask(&mut self, thread: &Pending, signal: i32) -> Phase {
        let Some(pool) = self.pool else {
            return self.miss(thread, Missing::NoSignal);
        };
        // The process is about to be another program: it may fail, and is asked again then.
        let Some(_sending) = SENDS.enter(sys::process_id()) else {
            return thread.phase;
        };
        match pool.ask(thread.id, signal, self.first) {
            Ok(question) => {
                self.asked += 1;
                Phase::Asked(question)
            }
            // All places are taken by threads that have not answered yet.
            Err(asked::Refused::Busy) => thread.phase,
            Err(asked::Refused::Gone) => self.miss(thread, Missing::Exited),
            // The thread is asked once more, with that one.
            Err(asked::Refused::NoSuchSignal) => {
                self.signal = asked::install_below(signal);
                thread.phase
            }
            Err(asked::Refused::Failed) => self.miss(thread, Missing::NoSignal),
        }
    }

    fn hear(&mut self, thread: &Pending, question: Question) -> Phase {
        let Some(pool) = self.pool else {
            return Phase::Over;
        };
        match pool.answer(question, self.out.as_mut_slice()) {
            Some(answer) => self.take(thread, answer),
            None if sys::thread_cpu_nanos(thread.id).is_none() => {
                pool.withdraw(question);
                self.miss(thread, Missing::Exited)
            }
            None => Phase::Asked(question),
        }
    }

    fn take(&mut self, thread: &Pending, answer: Answer) -> Phase {
        if answer.captured.depth == 0 {
            return self.miss(thread, Missing::NoRoom);
        }
        let source = Source::Signalled {
            held_nanos: answer.held_nanos,
        };
        let labels = Some(answer.labels);
        let found = Found::awake(thread.state, source, answer.captured, labels);
        self.add(thread.id, found);
        Phase::Over
    }

    /// The patience is over.
    fn give_up(&mut self, thread: &Pending) {
        let missing = match thread.phase {
            Phase::Over => return,
            Phase::Running { .. } => Missing::NoProcessor,
            Phase::Restless => Missing::Restless,
            Phase::ToAsk => Missing::NoAnswer,
            Phase::Asked(question) => {
                let Some(pool) = self.pool else {
                    return;
                };
                pool.withdraw(question);
                // It may have answered just before.
                if let Some(answer) = pool.answer(question, self.out.as_mut_slice()) {
                    self.take(thread, answer);
                    return;
                }
                Missing::NoAnswer
            }
        };
        self.miss(thread, missing);
    }

    fn miss(&mut self, thread: &Pending, missing: Missing) -> Phase {
        let nothing = Captured {
            depth: 0,
            end: StackEnd::NoWalk,
        };
        let labels = global::labels_of(thread.id);
        let source = Source::Missing(missing);
        self.add(
            thread.id,
            Found::awake(thread.state, source, nothing, labels),
        );
        Phase::Over
    }

    /// Adds a row whose stack is at the front of `out`.
    fn add(&mut self, id: u32, found: Found) {
        let first = self.collected.frames.len();
        let stack = self.out.get(..found.captured.depth).unwrap_or(&[]);
        self.collected.frames.extend_from_slice(stack);
        self.collected.rows.push(Row {
            id,
            name: self.names.of(&self.tasks, id, found.cpu_nanos),
            state: found.state,
            source: found.source,
            first,
            depth: stack.len(),
            end: found.captured.end,
            labels: found.labels,
            // Now, as a thread that has ended is not known any more.
            creator: global::spawn().creator_of(id),
        });
    }
}

/// What a row is made of, but for the words of its stack.
struct Found {
    state: State,
    source: Source,
    captured: Captured,
    labels: Option<u32>,
    /// What it had taken, of a thread that slept all the while.
    cpu_nanos: Option<u64>,
}

impl Found {
    /// Of a thread that runs, or nobody knows.
    fn awake(state: State, source: Source, captured: Captured, labels: Option<u32>) -> Self {
        Self {
            state,
            source,
            captured,
            labels,
            cpu_nanos: None,
        }
    }
}

impl From<Asleep> for Found {
    fn from(asleep: Asleep) -> Self {
        Self {
            state: asleep.state,
            source: Source::Outside,
            captured: asleep.captured,
            labels: asleep.labels,
            cpu_nanos: Some(asleep.cpu_nanos),
        }
    }
}
