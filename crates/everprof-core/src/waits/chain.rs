//! Chain: charges a wait along the wakes that led to its end, see [`super::log`].
//!
//! Context: sampled. Invariant: what is laid along a chain adds up to what was waited; each
//! waker's share is counted with the weight that was fixed when its wake was logged.
//!
//! Whether a wake is recorded must be decided when it is done, as its stack can be captured
//! then only; what it will be charged with comes later, with the waits that it delayed. So
//! it is recorded with probability q = max(min(1, c/R), 1/16), *c* being the whole of what
//! its own waiter waited, rounded up to a power of two; every charge to it is then worth
//! 1/q, whatever it is. That has no bias for any q. The least q bounds the weight of
//! what is charged to a wake that ended a short wait.

use super::chance::{Weight, one_in};
use super::log::Log;
use super::tally;
use crate::ledger::Ledger;
use crate::local::Local;
use crate::table::Cells;

/// A wake that ended a wait of a thread on its own word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Its number in the log; 0: it has none.
    pub(super) number: u64,
    /// Whether its stack will be captured, and how many it stands for then.
    pub(super) recorded: bool,
    pub(super) weight: u32,
    previous: u64,
    time_nanos: u64,
    waited_nanos: u64,
}

impl Link {
    /// Logs a wake at `time_nanos` of a waiter who waited `waited_nanos`; one in `weight`
    /// is recorded. `previous` is the wake that the waker owes its own turn to.
    pub(super) fn of(
        log: &Log<'_>,
        local: &Local,
        (time_nanos, waited_nanos): (u64, u64),
        weight: u32,
        previous: u64,
    ) -> Self {
        let recorded = one_in(local, u64::from(weight), 0, 1).is_some();
        Self {
            number: log.add(time_nanos, previous, weight, recorded),
            recorded,
            weight,
            previous,
            time_nanos,
            waited_nanos,
        }
    }

    /// Lays the wait along the chain; what of it is the waker's own.
    pub(super) fn lay(&self, log: &Log<'_>, ledger: &Ledger<'_>) -> u64 {
        let began_nanos = self.time_nanos.saturating_sub(self.waited_nanos);
        let (mut until_nanos, mut previous) = (self.time_nanos, self.previous);
        let (mut own_nanos, mut charged) = (0, None);
        for step in 1..=MOST_STEPS {
            let before = log.read(previous).filter(|before| {
                // No further: the chain is as long as the wait, or as long as it may be.
                step < MOST_STEPS && before.time_nanos > began_nanos
            });
            // Not below: clocks of two processors may differ by a little.
            let from_nanos =
                before.map_or(began_nanos, |before| before.time_nanos.min(until_nanos));
            let nanos = until_nanos - from_nanos;
            match charged {
                None => own_nanos = nanos,
                Some((number, weight)) => pay(log, ledger, number, nanos, weight),
            }
            let Some(before) = before else {
                break;
            };
            charged = Some((previous, before.weight));
            (until_nanos, previous) = (from_nanos, before.previous);
        }
        own_nanos
    }
}

/// Charges the waker of a wake further up the chain.
fn pay(log: &Log<'_>, ledger: &Ledger<'_>, number: u64, nanos: u64, weight: u32) {
    if let Some((bucket, nanos)) = log.charge(number, nanos) {
        ledger.count(bucket, |cells| count(cells, 0, nanos, weight));
    }
}

/// Counts `nanos` of `contentions` waits that a recorded wake is charged with.
pub(super) fn count(cells: &Cells, contentions: u64, nanos: u64, weight: u32) {
    let each = u64::from(weight);
    let micros = nanos / 1000;
    tally::add_chain(
        cells,
        &Weight {
            contentions_q8: contentions.saturating_mul(256 * each),
            delay_nanos: nanos.saturating_mul(each),
            contentions_variance: 0,
            delay_variance_micros2: micros
                .saturating_mul(micros)
                .saturating_mul(each * (each - 1))
                .min(1 << 48),
        },
    );
}

/// 1/q, see the module's head.
pub(super) fn weight_of(waited_nanos: u64, period_nanos: u64) -> u32 {
    let mut weight = 1;
    while weight < MOST_WEIGHT && waited_nanos.saturating_mul(u64::from(2 * weight)) <= period_nanos
    {
        weight *= 2;
    }
    weight
}

/// A capture of 0.3 µs in sixteen wakes, each of a microsecond or more.
const MOST_WEIGHT: u32 = 16;
/// Holders of one lock during one wait: what they held before is charged to the last. A
/// hundred threads that wait for one are an ordinary pool; with 64 steps a holder who had
/// made them all wait was charged with five sixths of it. A step is five loads, and
/// is made after the call that lets the others go.
const MOST_STEPS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_is_the_power_of_two_below_its_bound() {
        for (waited, period, weight) in [
            (1, 1, 1),
            (1000, 1000, 1),
            (999, 1000, 1),
            (500, 1000, 2),
            (300, 1000, 2),
            (250, 1000, 4),
            (0, 1000, 16),
            (1, u64::MAX, 16),
            (u64::MAX, 1000, 1),
        ] {
            assert_eq!(weight_of(waited, period), weight, "{waited} of {period}");
        }
    }
}
