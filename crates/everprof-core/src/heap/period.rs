//! The period that a snapshot's samples were really taken with.
//!
//! Context: cold. Invariant: never less than the period in force.
//!
//! The period may have been changed since, and is longer where memory runs short
//! (thinning). Error bars need the one that was in force then. A bucket tells: of
//! the N objects of size s that its n samples stand for, each was recorded with
//! p = 1 − exp(−s/P), so that n/N is p, and P follows. Chance has no part in it:
//! every sample added the weight that it was recorded with.
//!
//! Where the periods differed, a bucket knows their mean only, and a few heavy
//! samples make more of an error than their mean weight lets one think. So where
//! the buckets show that the period was longer, the objects in use are asked, which
//! keep their own weights. Each counts by the bytes that it stands for: for small
//! objects that makes the variance which follows from the result, B·P, the sum of
//! their own, Σ(s·w)².

use super::{Snapshot, Tally, tally};

impl Snapshot<'_> {
    /// Mean bytes between samples, over all that the buckets hold: the period in
    /// force, unless they were recorded with a clearly longer one.
    #[must_use]
    pub fn recorded_period_bytes(&self) -> u64 {
        let mut allocated = Mean::default();
        self.iter().for_each(|bucket| allocated.add(&bucket.alloc));
        if allocated.period() <= TOLERANCE * self.period_bytes as f64 {
            return self.period_bytes;
        }
        let mut in_use = Mean::default();
        if let Some(store) = &self.in_use {
            store.for_each(|_, object| {
                let (allocated, _) = tally::read(&tally::allocated(&object.weight));
                in_use.add(&allocated);
            });
        }
        // Saturates where the figure is too large.
        allocated.period().max(in_use.period()) as u64
    }
}

/// Sizes of a class differ by an eighth, and their weights are rounded.
const TOLERANCE: f64 = 1.25;

/// Objects missed less often than this say nothing: their weights are 1 or just
/// above, and kept to 1/256.
const LEAST_MISSED: f64 = 0.01;

/// The mean of periods by bytes.
#[derive(Default)]
struct Mean {
    sum: f64,
    weights: f64,
}

impl Mean {
    fn add(&mut self, tally: &Tally) {
        let samples = tally.samples as f64;
        let missed = 1.0 - samples / tally.objects;
        // Not a number, where there are no objects.
        if tally.samples == 0 || missed.is_nan() || missed < LEAST_MISSED {
            return;
        }
        let size_bytes = tally.sampled_bytes as f64 / samples;
        let weight = tally.bytes as f64 * missed;
        self.sum += weight * -size_bytes / missed.ln();
        self.weights += weight;
    }

    /// 0: nothing can be said.
    fn period(&self) -> f64 {
        if self.weights > 0.0 {
            self.sum / self.weights
        } else {
            0.0
        }
    }
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    /// Of `samples` objects, recorded with a probability of 1 − exp(−size/period).
    fn tally(samples: u64, size_bytes: u64, period: f64) -> Tally {
        let objects = samples as f64 / -(-(size_bytes as f64) / period).exp_m1();
        Tally {
            samples,
            sampled_bytes: samples * size_bytes,
            objects,
            bytes: (objects * size_bytes as f64) as u64,
        }
    }

    fn mean_period(tallies: &[Tally]) -> f64 {
        let mut mean = Mean::default();
        tallies.iter().for_each(|tally| mean.add(tally));
        mean.period()
    }

    #[test]
    fn period_follows_from_samples_and_what_they_stand_for() {
        for period in [100.0, 4096.0, 524_288.0] {
            for size in [8, 64, 300] {
                let mean = mean_period(&[tally(3, size, period)]);
                assert!((mean / period - 1.0).abs() < 1e-6, "{mean} for {period}");
            }
        }
    }

    #[test]
    fn buckets_count_by_their_bytes() {
        let tallies = [tally(1000, 64, 1000.0), tally(1000, 64, 3000.0)];
        let mean = mean_period(&tallies);
        assert!((2400.0..2600.0).contains(&mean), "{mean}");
    }

    #[test]
    fn what_was_recorded_for_certain_says_nothing() {
        let certain = tally(5, 1 << 20, 1.0);
        assert_eq!(mean_period(&[certain, Tally::default()]), 0.0);
        // A weight of 257/256, as rounding gives it now and then.
        let mut rounded = tally(5, 100 << 20, 1.0);
        rounded.objects = 5.0 * 257.0 / 256.0;
        let mean = mean_period(&[rounded, tally(1000, 64, 4096.0)]);
        assert!((mean - 4096.0).abs() < 1.0, "{mean}");
    }
}
