//! What each watched task awaits: the profile `tasks`, and its records.
//!
//! A task is a future that was given to [`task`] to be watched. Its stack is the
//! one in which a leaf last kept a waker of it, innermost first; below it stands the stack
//! that made it. docs/tasks.md tells what is seen, and what is not.
//!
//! Context: cold. Invariant: no task is polled for it, and none waits for it.
//! Source: Go's goroutine profile, for tasks.

use std::time::Duration;

use everprof_core::settings::Name;
use everprof_core::{global, tasks};

use crate::assemble;
use crate::config;
use crate::profile::{LongText, Source, Time};
use crate::start::LeftOut;
use crate::task;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// It was made, and has not been polled.
    NotPolledYet,
    /// It is being polled.
    Running {
        /// On the thread with this number of the kernel's.
        thread: u32,
    },
    /// It waits to be woken.
    Waiting,
    /// It was woken, and has not been polled since.
    Woken,
    /// It woke itself to let others have their turn, and has not been polled since.
    Yielding,
}

/// Whether a task can run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Leak {
    /// As far as can be seen, it can.
    No,
    /// All its wakers are in memory that, as far as can be seen, it alone can reach: both ends
    /// of a channel, a lock that it has itself. A suspicion.
    Suspected,
    /// Nobody has a waker of it. Whether it is polled all the same is not known, as it is not
    /// known to be a task of its own ([`task::root`]).
    Unwakeable,
    /// Nobody has a waker of it, nor of any task that it is part of: it never runs again.
    Certain,
}

/// A task, and where it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskRecord {
    /// Its number; no other task ever has it.
    pub id: u64,
    /// The watched task in whose poll it is polled.
    pub parent: Option<u64>,
    /// The watched task that made it.
    pub made_by: Option<u64>,
    /// The path of its `async fn`, or the name of its type.
    pub name: String,
    /// What it does.
    pub state: TaskState,
    /// How long it has been doing that.
    pub since: Duration,
    /// How long ago its last poll ended, if it waits, was woken, or yields; else nothing.
    pub waited: Duration,
    /// How long ago it was made.
    pub age: Duration,
    /// The labels in force where it waits, else those that it was made with.
    pub labels: Vec<(String, String)>,
    /// The stacks in which it waits, each as addresses of calls, innermost first; several for
    /// a join or a select. Empty while it runs.
    pub stacks: Vec<Vec<u64>>,
    /// Stacks beyond those, of a very large join or select.
    pub more_stacks: u32,
    /// The stack that made it, innermost first; empty if not known.
    pub created_by: Vec<u64>,
    /// Wakers of it that somebody keeps; none, where that is not known: it was polled
    /// while tasks were not watched.
    pub wakers: Option<u32>,
    /// Whether it can run again.
    pub leak: Leak,
}

/// How many tasks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Watched futures that are there, those within others included.
    pub watched: usize,
    /// Tasks of the tokio runtimes that [`task::spawn`](crate::task) was called on, watched or
    /// not; none, without that.
    pub tokio_alive: Option<usize>,
    /// Futures that were to be watched, and are not seen for want of memory.
    pub lost: usize,
}

/// All watched tasks as they are now, by their numbers.
///
/// # Overhead
///
/// Every entry is read, on this thread; no task and no other thread waits for it.
///
/// ```
/// for task in everprof::tasks::records() {
///     println!("{} {}: {:?}", task.id, task.name, task.state);
/// }
/// ```
#[must_use]
pub fn records() -> Vec<TaskRecord> {
    let _left_out = LeftOut::new();
    assemble::task_records(None)
}

/// Those watched tasks that never run again, or may not: all of [`records`] whose
/// [`leak`](TaskRecord::leak) is not [`Leak::No`], the suspected ones among them.
///
/// # Overhead
///
/// For the suspected ones all memory of the program that was ever written is copied, page by
/// page, and searched for pointers, on this thread: 64,000 system calls and some tenths of a
/// second for 256 MiB. Where there is more, or more than 256 GiB that was mapped and never
/// touched, nothing is suspected.
///
/// ```
/// for task in everprof::tasks::leaked() {
///     eprintln!("task {} {}: {:?}", task.id, task.name, task.leak);
/// }
/// ```
#[must_use]
pub fn leaked() -> Vec<TaskRecord> {
    let left_out = LeftOut::new();
    let asker = std::ptr::from_ref(&left_out).addr() as u64;
    let mut records = assemble::task_records(Some(asker));
    records.retain(|task| task.leak != Leak::No);
    records
}

/// How many tasks are watched, and how many there are as far as that is known.
#[must_use]
pub fn counts() -> Counts {
    let (watched, lost) = tasks::counts();
    Counts {
        watched,
        tokio_alive: task::tokio_alive(),
        lost,
    }
}

/// Whether futures that are given to be watched are watched: at first they are.
///
/// While they are not, a poll of a watched future costs a look at this. Of tasks that were
/// polled meanwhile it is not known afterwards who can wake them.
///
/// `EVERPROF=tasks=…` overrides the code: this then does nothing.
pub fn set_watching(is_on: bool) {
    if config::told().tasks.is_none() {
        global::store().set(Name::Tasks, is_on.into());
    }
}

/// Sets what `EVERPROF` told, before `main`.
#[cfg(feature = "environment")]
pub(crate) fn heed(told: &config::Config) {
    if let Some(is_on) = told.tasks {
        global::store().set(Name::Tasks, is_on.into());
    }
}

/// Whether futures are watched.
#[must_use]
pub fn is_watching() -> bool {
    global::store().settings().get(Name::Tasks) != 0
}

/// Tasks now.
pub(crate) static TASKS: Source = Source {
    name: "tasks",
    description: "What watched async tasks await now. `debug=2` gives one paragraph a task, \
        with its state and since when; `leaked=1` keeps those that can never run again, or \
        may not; `age=60s` those that have waited so long.",
    time: Time::Instant,
    has_age: true,
    has_idle: false,
    has_leaks: true,
    long_text: LongText::Threads,
    count: || tasks::counts().0,
    take: |ask| Ok(assemble::tasks("tasks", ask)),
};
