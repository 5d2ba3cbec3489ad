//! Tally: what is counted of threads in a bucket's cells.
//!
//! Context: sampled. Invariant: ends stand behind beginnings, as a bucket's later
//! counters are read first ([`crate::table::Cells`]).
//!
//! | counter | of |
//! |---|---|
//! | 0 | threads created |
//! | 1 | of these, ended |
//! | 2 | CPU time, nanoseconds |
//! | 3 | of the ended, those whose end was only found later |

use crate::table::{COUNTERS, Cells};

pub(super) fn add_created(cells: &Cells) {
    cells.add(0, &[1]);
}

/// `cpu_nanos`: what had not been counted before.
pub(super) fn add_ended(cells: &Cells, cpu_nanos: u64) {
    cells.add(1, &[1, cpu_nanos]);
}

pub(super) fn add_cpu(cells: &Cells, cpu_nanos: u64) {
    cells.add(2, &[cpu_nanos]);
}

pub(super) fn add_unseen_end(cells: &Cells) {
    cells.add(1, &[1, 0, 1]);
}

/// A thread may end before its creator comes to count it.
pub(super) fn clamp(counters: &mut [u64; COUNTERS]) {
    let [created, ended, ..] = counters;
    *ended = (*ended).min(*created);
}
