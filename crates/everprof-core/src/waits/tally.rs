//! Tally: what the recorder of waits counts in a bucket's cells.
//!
//! Context: sampled. Invariant: samples stand first and are read last, so that
//! whatever was counted in part has too few of the rest, never too many.
//!
//! | counters | of |
//! |---|---|
//! | 0–4 | samples, contentions in 1/256, nanoseconds, the variances of both |
//! | 5–7 | by the chain of wakes, in the mutex profile: contentions in 1/256, nanoseconds, their variance |

use super::chance::Weight;
use crate::table::{COUNTERS, Cells};

const CHAIN: usize = 5;

/// Sums over samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Samples. Of a chain of wakes they are not counted apart: 0.
    pub samples: u64,
    /// Waits that they stand for.
    pub contentions: f64,
    /// Their nanoseconds.
    pub delay_nanos: u64,
    /// Variance of the contentions; of a chain's, not known: 0.
    pub contentions_variance: f64,
    /// Variance of the delay, in square nanoseconds.
    pub delay_variance_nanos2: f64,
}

impl Tally {
    /// Reads the five counters of one, in the order above.
    pub(crate) fn of(counters: [u64; 5]) -> Self {
        let [samples, contentions, delay_nanos, variance, delay_variance] = counters;
        Self {
            samples,
            contentions: contentions as f64 / 256.0,
            delay_nanos,
            contentions_variance: variance as f64,
            delay_variance_nanos2: delay_variance as f64 * 1e6,
        }
    }
}

/// Counts a recorded wait, or a recorded wake's charge.
pub(super) fn add(cells: &Cells, weight: &Weight) {
    cells.add(
        0,
        &[
            1,
            weight.contentions_q8,
            weight.delay_nanos,
            weight.contentions_variance,
            weight.delay_variance_micros2,
        ],
    );
}

/// Counts what a recorded wake is charged with by the chain of wakes.
pub(super) fn add_chain(cells: &Cells, weight: &Weight) {
    cells.add(
        CHAIN,
        &[
            weight.contentions_q8,
            weight.delay_nanos,
            weight.delay_variance_micros2,
        ],
    );
}

/// The figures by address and those by the chain of wakes.
pub(super) fn read(counters: &[u64; COUNTERS]) -> (Tally, Tally) {
    let [a, b, c, d, e, contentions, delay_nanos, variance] = *counters;
    (
        Tally::of([a, b, c, d, e]),
        Tally::of([0, contentions, delay_nanos, 0, variance]),
    )
}
