//! Who waited, and how long: the profile `block`, its settings and records.
//!
//! A wait is charged to the stack that waited, as it was before it slept, when the
//! wait is over: for a lock, a condition, a channel, a thread's end. A wait of *d* ns
//! is recorded if *d* is at least the [`period`], else with probability
//! `d / period`, and adds `max(1, period / d)` contentions and `max(d, period)`
//! nanoseconds: neither figure has a bias, towards long waits or short ones.
//!
//! Worker threads that have nothing to do wait, too, and so does a thread that gives its
//! turn away in no lock. Where they are told apart, they are left out unless asked for:
//! `/debug/pprof/block?idle=1`.
//!
//! Context: cold. Invariant: the figures only grow.
//! Source: Go's `runtime.BlockProfile` and `SetBlockProfileRate`.

use std::borrow::Cow;

use crate::assemble;
use crate::config;
use crate::deadlock;
pub use crate::deadlock::{Awaited, Deadlock, StuckThread};
use crate::profile::{LongText, Source, Time};
use crate::waits::{self, Whose};
pub use everprof_core::threads::LockAddress;
use everprof_core::threads::WhoAsks;

/// The shortest wait that is always recorded, in nanoseconds; 0 where none is.
#[must_use]
pub fn period() -> u64 {
    waits::period_nanos(Whose::Waiters)
}

/// Sets the shortest wait that is always recorded, in nanoseconds. 1 records every
/// wait; 0 none. At first it is 1 ms.
///
/// What is recorded already keeps its weight. `EVERPROF=block=…` overrides the
/// code: this then does nothing.
///
/// ```
/// everprof::block::set_period(100_000); // all waits of 100 µs and more, of shorter ones some
/// assert_eq!(everprof::block::period(), 100_000);
/// ```
pub fn set_period(nanos: u64) {
    if config::told().block_period_nanos.is_none() {
        waits::set_period_nanos(Whose::Waiters, nanos);
    }
}

/// What one stack has waited, or has made others wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentionRecord<'a> {
    /// Waits that have ended, as estimated from those recorded.
    pub contentions: u64,
    /// How long they lasted together, in nanoseconds.
    pub delay_nanos: u64,
    /// Return addresses, the wait or the unlock first; a number below 64 says that
    /// there is more that was not recorded.
    pub stack: Cow<'a, [u64]>,
}

/// The waiters of this instant, idle worker threads left out.
///
/// # Overhead
///
/// Every record is copied, on this thread; no thread that waits or wakes is held up.
/// Symbol tables are read, too, as names tell the idle from those that wait.
///
/// ```
/// let waited: u64 = everprof::block::records().iter().map(|record| record.delay_nanos).sum();
/// println!("{} ms waited", waited / 1_000_000);
/// ```
#[must_use]
pub fn records() -> Vec<ContentionRecord<'static>> {
    waits::records(Whose::Waiters)
}

/// The deadlocks of this instant: threads that wait for one another and can never go on.
///
/// A lock of std's that nobody had to wait for was taken without a trace. Who *may*
/// hold it is told from the stacks and registers of all threads; a deadlock is reported
/// only if all who may hold a lock are in it. So none is reported where a thread that may
/// hold the lock runs, waits with a time limit, or sleeps in a call that everprof does not
/// know; nor of `parking_lot`, whose threads sleep on words of their own. docs/deadlocks.md
/// tells what else it cannot see, and the one thing that it takes for granted.
///
/// Only waits of 100 ms and more are looked at. Ask from a thread that has no business
/// with the locks, such as a watchdog: the one that asks may hold what its stack leads to
/// above this call.
///
/// # Overhead
///
/// Nothing to speak of while no thread waits that long for a lock. Else each thread's
/// state is read and its stack copied, on a thread of everprof's own, a few times if one
/// moves; no thread of the program is disturbed. Not measured.
///
/// ```
/// for deadlock in everprof::block::deadlocks() {
///     eprintln!("{deadlock}");
/// }
/// ```
#[must_use]
pub fn deadlocks() -> Vec<Deadlock> {
    deadlocks_since(deadlock::LEAST_WAIT)
}

/// As [`deadlocks`], of waits that take at least so long: for tests, whose programs are
/// too fast for 100 ms.
#[doc(hidden)]
#[must_use]
pub fn deadlocks_since(least_wait: std::time::Duration) -> Vec<Deadlock> {
    WhoAsks::this_thread(|asker| deadlock::find(least_wait, asker)).found
}

/// Waits, by who waited.
pub(crate) static BLOCK: Source = Source {
    name: "block",
    description: "Where threads waited for locks, conditions, channels and other threads, and \
        how long. `idle=1` adds worker threads that had nothing to do, and yields outside of \
        locks.",
    time: Time::Cumulative,
    has_age: false,
    has_idle: true,
    has_leaks: false,
    long_text: LongText::None,
    count: || waits::count(Whose::Waiters),
    take: |ask| Ok(assemble::block(ask)),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_that_is_set_is_the_period() {
        let before = period();
        set_period(77);
        assert_eq!(period(), 77);
        set_period(before);
    }
}
