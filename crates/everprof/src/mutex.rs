//! Who made others wait: the profile `mutex`, its settings and records.
//!
//! When an unlock ends the waits of others, their delay is charged to the stack that
//! unlocked: to shorten these waits, shorten what it does while it holds the lock.
//! The statistics are those of [`block`](crate::block), with a [`period`] of their
//! own.
//!
//! Context: cold. Invariant: the figures only grow.
//! Source: Go's `runtime.MutexProfile` and `SetMutexProfileFraction`.

use crate::assemble;
pub use crate::block::ContentionRecord;
use crate::config;
use crate::profile::{LongText, Source, Time};
use crate::waits::{self, Whose};

/// The shortest wait that is always recorded, in nanoseconds; 0 where none is.
#[must_use]
pub fn period() -> u64 {
    waits::period_nanos(Whose::Unlockers)
}

/// Sets the shortest wait that is always recorded, in nanoseconds. 1 records every
/// wait that an unlock ended; 0 none. At first it is 1 ms.
///
/// `EVERPROF=mutex=…` overrides the code: this then does nothing.
pub fn set_period(nanos: u64) {
    if config::told().mutex_period_nanos.is_none() {
        waits::set_period_nanos(Whose::Unlockers, nanos);
    }
}

/// One in how many unlocks is recorded, whatever they cost others; 0 where the
/// [`period`] decides.
#[must_use]
pub fn fraction() -> u64 {
    waits::one_in()
}

/// Records one in `one_in` unlocks that end others' waits, which then stands for that
/// many, as Go's `SetMutexProfileFraction` does: for those who know that. It stands in
/// for the [`period`], which sees more of what matters for the same cost. 0 leaves it to
/// the period again, as at first; a negative number changes nothing. Returns what it
/// was before.
///
/// `EVERPROF=mutex_fraction=…` overrides the code: this then only reads.
pub fn set_fraction(one_in: i64) -> u64 {
    let before = fraction();
    if let Ok(one_in) = u64::try_from(one_in)
        && config::told().mutex_one_in.is_none()
    {
        waits::set_one_in(one_in);
    }
    before
}

/// The unlockers of this instant.
///
/// # Overhead
///
/// That of [`block::records`](crate::block::records).
///
/// ```
/// let worst = everprof::mutex::records().into_iter().max_by_key(|record| record.delay_nanos);
/// if let Some(unlocker) = worst {
///     println!("others waited {} ms for it", unlocker.delay_nanos / 1_000_000);
/// }
/// ```
#[must_use]
pub fn records() -> Vec<ContentionRecord<'static>> {
    waits::records(Whose::Unlockers)
}

/// Waits, by who ended them.
pub(crate) static MUTEX: Source = Source {
    name: "mutex",
    description: "Who held the locks that others waited for, and how long they waited: \
        the stacks are those of the unlocks",
    time: Time::Cumulative,
    has_age: false,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::None,
    count: || waits::count(Whose::Unlockers),
    take: |ask| Ok(assemble::mutex(ask)),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_fraction_reads() {
        assert_eq!(set_fraction(5), 0);
        assert_eq!(set_fraction(-1), 5);
        assert_eq!(set_fraction(0), 5);
        assert_eq!(fraction(), 0);
    }
}
