//! The unit of a trace's times: ticks of its clock, by the power of two that is enough.
//!
//! Context: cold. Invariant: the rate of a trace is asked for once, before its first event.

use std::time::{Duration, Instant};

use everprof_core::trace::Session;

/// How often the clock ticks in a second: waits for what is known for certain, a little.
pub(super) fn rate_of(session: &Session<'_>) -> u64 {
    let began = Instant::now();
    loop {
        match session.ticks_per_second() {
            Some(rate) => return rate,
            None if began.elapsed() > MOST_PROVING => return session.ticks_per_second_about(),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Ten times as long as proving the clock's rate takes.
const MOST_PROVING: Duration = Duration::from_millis(100);

/// How many bits of a tick make a unit of time.
pub(super) fn shift_of(ticks_per_second: u64) -> u32 {
    let ticks = (u128::from(ticks_per_second) * u128::from(LEAST_UNIT_NANOS)) / 1_000_000_000;
    let ticks = u64::try_from(ticks).unwrap_or(u64::MAX).max(1);
    ticks.next_power_of_two().trailing_zeros().min(31)
}

/// A unit of time is at least this long: with five bits for the time since the event
/// before, some 30 units, most events of a busy thread need no more.
const LEAST_UNIT_NANOS: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_of_time_is_short_and_no_shorter_than_it_must_be() {
        assert_eq!(shift_of(1_000_000_000), 5);
        assert_eq!(shift_of(3_000_000_000), 7);
        assert_eq!(shift_of(24_000_000), 0);
    }
}
