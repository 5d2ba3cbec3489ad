//! Profiles that have a name here and no recorder in this build.
//!
//! Context: cold. Invariant: asking for one is one error, which names it.

use crate::error::{Error, Kind};
use crate::profile::{LongText, Source, Time};

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
