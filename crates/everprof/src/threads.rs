//! What each thread is doing: the profiles `threads` and `goroutine`.
//!
//! No thread is stopped for it. Those that sleep are looked at from outside and learn
//! nothing of it; those that run walk their own stacks in a signal handler, which takes
//! a few microseconds of each. docs/threads.md tells which system calls could notice.
//!
//! Context: cold. Invariant: every thread is in the profile, with a stack or with the
//! reason why it has none.
//! Source: Go's goroutine profile, for threads.

use everprof_core::own_threads;

use crate::assemble;
use crate::profile::{LongText, Source, Time};

/// Threads now.
pub(crate) static THREADS: Source = Source {
    name: "threads",
    description: "The stacks of all threads now. `debug=2` gives one paragraph a thread, \
        with what it does and since when, as a panic prints it.",
    time: Time::Instant,
    has_age: false,
    has_idle: false,
    long_text: LongText::Threads,
    count,
    take: |ask| assemble::threads("threads", ask),
};

/// The same, by the name that tools written for Go ask for.
pub(crate) static GOROUTINE: Source = Source {
    name: "goroutine",
    description: "The same as threads, for tools that ask for Go's goroutines",
    take: |ask| assemble::threads("goroutine", ask),
    ..THREADS
};

/// Not taken, since that costs something a thread.
fn count() -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return 0;
    };
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id| !own_threads::contains(*id)).count()
}
