//! The process's own clock.
//!
//! Context: any, but for what says cold. Invariant: as [`super`]. A fact about the machine,
//! not a recorder's state: so it stands here, and not in `global`.

use super::line::Line;
use super::{Clock, Source, counter};
use crate::sys;

static CLOCK: Clock = Clock::new();

/// What this machine has.
struct Machine;

impl Source for Machine {
    #[inline(always)]
    fn ticks(&self) -> u64 {
        counter::read()
    }

    #[inline(always)]
    fn ticks_in_order(&self) -> u64 {
        counter::read_in_order()
    }

    #[inline(always)]
    fn nanos(&self) -> u64 {
        sys::monotonic_nanos()
    }
}

/// Goes by the processor's counter from here on, if the kernel does. Cold: reads a file of
/// /sys the first time. To be called before there are other threads that take ticks.
pub fn begin() {
    CLOCK.begin(&Machine, || {
        let mut name = [0; 32];
        counter::is_steady() && sys::clock_source(&mut name) == counter::CLOCK_SOURCE
    });
}

/// Nanoseconds of a clock that only goes forward, from one thread to another too: what is read
/// after somebody else's reading was seen is not less.
///
/// It keeps to CLOCK_MONOTONIC as it went when this was begun, within one part in 100,000; so
/// an interval is that of CLOCK_MONOTONIC, while the two times may part over the days
/// by what the kernel is made to follow the time of day.
///
/// # Overhead
///
/// 17 ns on x86_64 (AMD EPYC, 2.6 GHz), where the kernel's takes 22, and that where it is not
/// the counter's (`cargo bench -p everprof-core --bench waits`).
#[inline(always)]
#[must_use]
pub fn now_nanos() -> u64 {
    CLOCK.now_nanos(&Machine)
}

/// As [`now_nanos`], as early as the processor likes: it may be of up to some hundred
/// instructions ago, so earlier than what another thread was seen to read. For intervals
/// that begin and end on one thread, with more than that in between.
///
/// # Overhead
///
/// 9 ns, as above: nobody waits for the instructions before it.
#[inline(always)]
#[must_use]
pub fn early_nanos() -> u64 {
    CLOCK.early_nanos(&Machine)
}

/// The counter that the kernel's clock goes by, as early as the processor likes; where that
/// cannot be had, the kernel's clock. One or the other from [`begin`] on, in a fork's child
/// too. What turns it into nanoseconds is [`conversion`].
#[inline(always)]
#[must_use]
pub fn ticks() -> u64 {
    CLOCK.ticks(&Machine)
}

/// What turns [`ticks`] into the nanoseconds of [`now_nanos`]. `None`: [`begin`] was less than
/// some 10 ms ago, and the rate is not proven yet. Cold.
#[must_use]
pub fn conversion() -> Option<Line> {
    CLOCK.conversion(&Machine)
}

/// Goes by the kernel's clock again, for good, if the counter has parted from it. Cold: what
/// takes snapshots and dumps calls it.
pub fn look() {
    CLOCK.look(&Machine);
}

#[cfg(test)]
mod tests;
