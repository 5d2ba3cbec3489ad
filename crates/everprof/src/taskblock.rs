//! What tasks waited, and how long: the profile `taskblock`, its settings and records.
//!
//! A wait of a watched task goes from the end of a poll to the first wake, and is charged to
//! the stacks in which it awaited, evenly if there are several. The statistics are those of
//! [`block`](crate::block), with a [`period`] of their own. Two more figures stand beside it:
//! how long tasks were ready before they were polled (`schedule_delay`), and how long the polls
//! took that followed an await (`poll`), which shows who makes others wait for their turn.
//!
//! Context: cold. Invariant: the figures only grow.

use std::borrow::Cow;

use everprof_core::global;
use everprof_core::settings::Name;
use everprof_core::tasks;

use crate::assemble;
pub use crate::block::ContentionRecord;
use crate::config;
use crate::profile::{LongText, Source, Time};

/// The shortest wait that is always recorded, in nanoseconds; 0 where none is.
#[must_use]
pub fn period() -> u64 {
    global::store().settings().get(Name::TaskblockPeriod)
}

/// Sets the shortest wait that is always recorded, in nanoseconds. 1 records every wait of a
/// watched task; 0 none. At first it is 1 ms.
///
/// `EVERPROF=taskblock=…` overrides the code: this then does nothing.
pub fn set_period(nanos: u64) {
    if config::told().taskblock_period_nanos.is_none() {
        global::store().set(Name::TaskblockPeriod, nanos);
    }
}

/// Sets what `EVERPROF` told, before `main`.
#[cfg(feature = "environment")]
pub(crate) fn heed(told: &config::Config) {
    if let Some(nanos) = told.taskblock_period_nanos {
        global::store().set(Name::TaskblockPeriod, nanos);
    }
}

/// The waits of this instant, by where tasks awaited.
///
/// ```
/// let worst = everprof::taskblock::records().into_iter().max_by_key(|record| record.delay_nanos);
/// if let Some(record) = worst {
///     println!("{} ms awaited", record.delay_nanos / 1_000_000);
/// }
/// ```
#[must_use]
pub fn records() -> Vec<ContentionRecord<'static>> {
    let snapshot = tasks::block();
    let waits = snapshot
        .iter()
        .filter(|bucket| bucket.times.waits.samples > 0);
    waits
        .map(|bucket| ContentionRecord {
            contentions: bucket.times.waits.contentions.round() as u64,
            delay_nanos: bucket.times.waits.delay_nanos,
            stack: Cow::Owned(bucket.stack.to_vec()),
        })
        .collect()
}

/// Waits of tasks, by where they awaited.
pub(crate) static TASKBLOCK: Source = Source {
    name: "taskblock",
    description: "Where watched tasks awaited, and how long; how long they were ready before \
        they were polled, and how long they were polled then.",
    time: Time::Cumulative,
    has_age: false,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::None,
    count: || tasks::block().iter().count(),
    take: |_| Ok(assemble::taskblock()),
};
