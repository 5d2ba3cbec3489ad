//! Delta: what a later profile has more than an earlier one of the same process.
//!
//! Context: cold.
//! Invariant: earlier plus delta is later, value by value; nothing is cut off at 0.

use crate::import::Importer;
use crate::{Error, Profile};

impl Profile {
    /// Later (`self`) minus earlier, for each stack and set of labels.
    ///
    /// Values in use may be negative: that much was freed meanwhile. A counter that shrank
    /// cannot be of one run of a program; its negative values are kept, so that the sums
    /// stay right, and a comment says how many there are. Samples that did not change are
    /// left out. The result bears the later time, and lasts from the earlier to it.
    ///
    /// # Errors
    ///
    /// [`Error::is_mismatch`] when the sample types or the period types differ.
    pub fn delta(&self, earlier: &Profile) -> Result<Profile, Error> {
        self.must_be_like(earlier, "the later profile", "the earlier one")?;
        let mut importer = Importer::new(self);
        let mut source = importer.source(self);
        for sample in self.samples() {
            importer.copy(&mut source, &sample, sample.values());
        }
        let mut source = importer.source(earlier);
        let mut negated = Vec::new();
        for sample in earlier.samples() {
            negated.clear();
            negated.extend(sample.values().iter().map(|value| value.saturating_neg()));
            importer.copy(&mut source, &sample, &negated);
        }
        let mut delta = importer.into;
        delta.aggregate();
        delta.drop_zero_samples();
        for comment in self.comments() {
            delta.add_comment(comment);
        }
        delta.duration_nanos = match (self.time_nanos, earlier.time_nanos) {
            (0, _) | (_, 0) => 0,
            (later, earlier) => later.saturating_sub(earlier).max(0),
        };
        delta.tell_of_shrunk_counters();
        Ok(delta)
    }

    fn tell_of_shrunk_counters(&mut self) {
        let mut shrunk = Vec::new();
        for (n, kind) in self.sample_types().enumerate() {
            let negative = || self.samples().filter(|sample| sample.values()[n] < 0);
            let count = negative().count();
            if count == 0 || may_shrink(kind.kind) {
                continue;
            }
            let by = negative().fold(0i64, |sum, sample| sum.saturating_add(sample.values()[n]));
            shrunk.push(format!(
                "delta: {} of {count} sample(s) shrank by {} {} in all; counters only grow, so \
                 the profiles are of two runs of the program, or the wrong way round",
                kind.kind,
                by.unsigned_abs(),
                kind.unit,
            ));
        }
        for comment in &shrunk {
            self.add_comment(comment);
        }
    }
}

/// Whether values of this kind tell what there is now, not what there ever was.
fn may_shrink(kind: &str) -> bool {
    kind.starts_with("inuse_")
        || matches!(kind, "live" | "threads" | "tasks" | "goroutine" | "waited")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Label;

    fn heap(samples: &[(u64, [i64; 2])]) -> Profile {
        let mut profile = Profile::new(&[("alloc_space", "bytes"), ("inuse_space", "bytes")]);
        for (address, values) in samples {
            let at = profile.add_location(*address, None);
            profile.push_sample(&[at], values, &[Label::number("bytes", 8, "bytes")]);
        }
        profile
    }

    fn values(profile: &Profile) -> Vec<(u64, Vec<i64>)> {
        let leaf =
            |sample: &crate::Sample<'_>| profile.location(sample.stack().next().unwrap()).address;
        profile
            .samples()
            .map(|sample| (leaf(&sample), sample.values().to_vec()))
            .collect()
    }

    #[test]
    fn delta_is_later_minus_earlier_for_each_stack() {
        let mut earlier = heap(&[(1, [10, 10]), (2, [5, 5]), (3, [7, 0])]);
        let mut later = heap(&[(4, [1, 1]), (1, [30, 4]), (2, [5, 5]), (3, [7, 0])]);
        (earlier.time_nanos, later.time_nanos) = (1_000, 4_000);
        let delta = later.delta(&earlier).unwrap();
        assert_eq!(values(&delta), [(4, vec![1, 1]), (1, vec![20, -6])]);
        assert_eq!((delta.time_nanos, delta.duration_nanos), (4_000, 3_000));
        assert_eq!(delta.comments().len(), 0);
    }

    #[test]
    fn labels_keep_samples_of_one_stack_apart() {
        let mut earlier = heap(&[(1, [10, 0])]);
        let at = earlier.add_location(1, None);
        earlier.push_sample(&[at], &[3, 0], &[Label::number("bytes", 16, "bytes")]);
        let delta = heap(&[(1, [12, 0])]).delta(&earlier).unwrap();
        assert_eq!(values(&delta), [(1, vec![2, 0]), (1, vec![-3, 0])]);
    }

    #[test]
    fn shrunk_counters_are_kept_and_told() {
        let earlier = heap(&[(1, [10, 10]), (2, [5, 5])]);
        let delta = heap(&[(1, [4, 0])]).delta(&earlier).unwrap();
        assert_eq!(delta.totals(), [-11, -15]);
        let comments: Vec<_> = delta.comments().collect();
        assert_eq!(comments.len(), 1);
        assert!(comments[0].starts_with("delta: alloc_space of 2 sample(s) shrank by 11 bytes"));
    }

    #[test]
    fn other_sample_types_are_refused() {
        let other = Profile::new(&[("n", "count")]);
        let error = heap(&[]).delta(&other).unwrap_err();
        assert!(error.is_mismatch());
        assert!(
            error
                .to_string()
                .contains("the earlier one holds `n/count`")
        );
    }
}
