//! Tally: what is counted of the times of polls in a bucket's cells.
//!
//! Context: sampled. Invariant: as in [`crate::waits`]: samples stand first and are read last.
//!
//! | counters | of |
//! |---|---|
//! | 0–4 | waits: samples, contentions in 1/256, nanoseconds, the variances of both |
//! | 5 | nanoseconds between wake and poll |
//! | 6 | nanoseconds of polls |
//!
//! A wait of several leaves at once is divided evenly among their stacks, so that sums over
//! stacks are sums over waits.

use crate::table::{COUNTERS, Cells};
use crate::waits::{Tally, Weight};

const VARIANCES: usize = 3;
const READY: usize = 5;
const POLLED: usize = 6;

/// Counts one part of `parts`, from 0 on, of what was due.
pub(super) fn add(
    cells: &Cells,
    (part, parts): (u64, u64),
    wait: Option<Weight>,
    ready_nanos: u64,
    polled_nanos: u64,
) {
    let share = |of: u64| of / parts + u64::from(part < of % parts);
    if let Some(weight) = wait {
        cells.add(
            0,
            &[1, share(weight.contentions_q8), share(weight.delay_nanos)],
        );
        // One of a period or more is certain.
        if weight.contentions_variance != 0 {
            cells.add(
                VARIANCES,
                &[
                    weight.contentions_variance / (parts * parts),
                    weight.delay_variance_micros2 / (parts * parts),
                ],
            );
        }
    }
    for (index, nanos) in [(READY, ready_nanos), (POLLED, polled_nanos)] {
        if nanos != 0 {
            cells.add(index, &[share(nanos)]);
        }
    }
}

/// What one stack's awaits and what followed them took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Waits that ended.
    pub waits: Tally,
    /// From wakes to polls, in nanoseconds.
    pub ready_nanos: u64,
    /// Polls, in nanoseconds.
    pub polled_nanos: u64,
}

/// Reads a bucket's counters.
pub(super) fn read(counters: &[u64; COUNTERS]) -> Times {
    let [a, b, c, d, e, ready, polled, _] = *counters;
    Times {
        waits: Tally::of([a, b, c, d, e]),
        ready_nanos: ready,
        polled_nanos: polled,
    }
}
