//! Tally: what the heap's recorder counts in a bucket's cells.
//!
//! Context: sampled. Invariant: what was freed stands behind what was allocated,
//! as a bucket's later counters are read first ([`crate::table::Cells`]).
//!
//! | counters | of |
//! |---|---|
//! | 0–3 | what was allocated: samples, their bytes, objects in 1/256, bytes |
//! | 4–7 | what of it was freed, in the same order |

use crate::sampler::Weight;
use crate::table::{COUNTERS, Cells};

const ALLOCATED: usize = 0;
const FREED: usize = 4;

/// Sums over samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Samples.
    pub samples: u64,
    /// Bytes of the sampled objects themselves.
    pub sampled_bytes: u64,
    /// Objects that they stand for.
    pub objects: f64,
    /// Bytes that they stand for.
    pub bytes: u64,
}

/// Counts a sampled allocation.
pub(crate) fn add_allocated(cells: &Cells, weight: &Weight) {
    cells.add(ALLOCATED, &amounts(weight));
}

/// Counts the free of a sampled object.
pub(crate) fn add_freed(cells: &Cells, weight: &Weight) {
    cells.add(FREED, &amounts(weight));
}

/// The counters after one sampled allocation.
pub(super) fn allocated(weight: &Weight) -> [u64; COUNTERS] {
    let [samples, sampled_bytes, objects_q8, bytes] = amounts(weight);
    [samples, sampled_bytes, objects_q8, bytes, 0, 0, 0, 0]
}

/// What was allocated and what was freed.
pub(crate) fn read(counters: &[u64; COUNTERS]) -> (Tally, Tally) {
    let [a, b, c, d, e, f, g, h] = *counters;
    (tally([a, b, c, d]), tally([e, f, g, h]))
}

/// Cuts what was freed to what was allocated, where a sample was counted in part.
pub(crate) fn clamp(counters: &mut [u64; COUNTERS]) {
    let (allocated, freed) = counters.split_at_mut(FREED);
    for (freed, allocated) in freed.iter_mut().zip(allocated) {
        *freed = (*freed).min(*allocated);
    }
}

fn amounts(weight: &Weight) -> [u64; 4] {
    [1, weight.size_bytes, weight.objects_q8, weight.bytes]
}

fn tally([samples, sampled_bytes, objects_q8, bytes]: [u64; 4]) -> Tally {
    Tally {
        samples,
        sampled_bytes,
        objects: objects_q8 as f64 / 256.0,
        bytes,
    }
}
