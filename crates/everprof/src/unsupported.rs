//! Profiles that have a name here and no recorder in this build.
//!
//! Context: cold. Invariant: asking for one is one error, which names it.

use crate::error::{Error, Kind};
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
    count: || 0,
    take: |_| Err(none("threads")),
};

/// The same, by the name that tools written for Go ask for.
pub(crate) static GOROUTINE: Source = Source {
    name: "goroutine",
    description: "The same as threads, for tools that ask for Go's goroutines",
    take: |_| Err(none("goroutine")),
    ..THREADS
};

/// Who made the threads.
pub(crate) static THREADCREATE: Source = Source {
    name: "threadcreate",
    description: "Where threads were created: how many, how many of them live, and what \
        CPU time they used",
    time: Time::Cumulative,
    has_age: false,
    has_idle: false,
    long_text: LongText::None,
    count: || 0,
    take: |_| Err(none("threadcreate")),
};

fn none(name: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("this version of everprof has no `{name}` profile"),
    )
}
