//! Changes to samples that are in a profile already: shorter stacks, equal samples added up.
//!
//! Context: cold.
//! Invariant: sums of values stay what they were.
//! Source: in place, because a large profile is not to be there twice.

use super::{Profile, SampleRecord, StackId};
use crate::index::Index;
use crate::wire::Reader;

impl Profile {
    /// Leaves out the first locations of each stack, as many as `cut` says of the stack's
    /// ids, and adds up the samples that become equal.
    pub(crate) fn shorten_stacks(&mut self, cut: impl Fn(super::Stack<'_>) -> usize) {
        let before = self.stacks.len();
        let new_numbers = self.stacks.shorten(|packed| {
            let mut rest = Reader::new(packed);
            for _ in 0..cut(super::Stack::new(packed)) {
                if rest.varint().is_err() {
                    break;
                }
            }
            packed.len() - rest.remaining()
        });
        if self.stacks.len() == before {
            // No two became equal: every stack has the number that it had.
            return;
        }
        for sample in &mut self.samples {
            sample.stack = StackId::from_index(new_numbers[sample.stack.index()] as usize);
        }
        drop(new_numbers);
        self.aggregate();
    }

    /// Adds up the samples of equal stacks and labels. The first of them keeps its place.
    /// Sums beyond 64 bits stay at the limit.
    pub(crate) fn aggregate(&mut self) {
        let types = self.sample_types.len();
        let seed = self.seed;
        let hash_of = |sample: &SampleRecord| {
            seed.pair(sample.stack.get().into(), sample.labels.get().into())
        };
        let mut index = Index::with_capacity(self.samples.len());
        let mut kept = 0;
        for n in 0..self.samples.len() {
            let sample = self.samples[n];
            let hash = hash_of(&sample);
            let known = index.find(hash, |m| {
                let other = &self.samples[m as usize];
                other.stack == sample.stack && other.labels == sample.labels
            });
            match known {
                Some(first) => {
                    for value in 0..types {
                        let added = self.values[n * types + value];
                        let sum = &mut self.values[first as usize * types + value];
                        *sum = sum.saturating_add(added);
                    }
                }
                None => {
                    self.samples[kept] = sample;
                    self.values
                        .copy_within(n * types..(n + 1) * types, kept * types);
                    let number =
                        u32::try_from(kept).expect("a profile has fewer than 2^32 samples");
                    let samples = &self.samples;
                    index.insert(hash, number, |m| hash_of(&samples[m as usize]));
                    kept += 1;
                }
            }
        }
        self.samples.truncate(kept);
        self.values.truncate(kept * types);
    }

    /// Leaves out the samples whose values are all 0.
    pub(crate) fn drop_zero_samples(&mut self) {
        let types = self.sample_types.len();
        let mut kept = 0;
        for n in 0..self.samples.len() {
            let values = n * types..(n + 1) * types;
            if self.values[values.clone()].iter().any(|&value| value != 0) {
                self.samples[kept] = self.samples[n];
                self.values.copy_within(values, kept * types);
                kept += 1;
            }
        }
        self.samples.truncate(kept);
        self.values.truncate(kept * types);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Label, Profile};

    #[test]
    fn equal_samples_are_added_up_in_the_first_ones_place() {
        let mut profile = Profile::new(&[("a", "count"), ("b", "bytes")]);
        let [x, y] = [1, 2].map(|address| profile.add_location(address, None));
        let blue = [Label::string("tenant", "blue")];
        profile.push_sample(&[x, y], &[1, i64::MAX], &[]);
        profile.push_sample(&[x, y], &[2, 0], &blue);
        profile.push_sample(&[y], &[4, 0], &[]);
        profile.push_sample(&[x, y], &[8, 5], &[]);
        profile.push_sample(&[x, y], &[16, 0], &blue);
        profile.aggregate();
        let values: Vec<_> = profile.samples().map(|sample| sample.values()).collect();
        assert_eq!(values, [[9, i64::MAX], [18, 0], [4, 0]]);
    }

    #[test]
    fn shortened_stacks_keep_the_sums() {
        let mut profile = Profile::new(&[("a", "count")]);
        let ids: Vec<_> = (0..300)
            .map(|address| profile.add_location(address, None))
            .collect();
        for n in 0..300 {
            profile.push_sample(&[ids[n], ids[299], ids[0]], &[1], &[]);
        }
        profile.shorten_stacks(|stack| stack.depth() - 2);
        assert_eq!(profile.samples().len(), 1);
        assert_eq!(profile.totals(), [300]);
        let sample = profile.samples().next().expect("one is left");
        assert_eq!(sample.stack().collect::<Vec<_>>(), [ids[299], ids[0]]);
        profile.shorten_stacks(|_| usize::MAX);
        assert_eq!(
            profile.samples().map(|sample| sample.stack().depth()).max(),
            Some(0)
        );
    }

    #[test]
    fn only_samples_of_all_zeros_are_dropped() {
        let mut profile = Profile::new(&[("a", "count"), ("b", "bytes")]);
        let at = profile.add_location(1, None);
        for values in [[0, 0], [1, -1], [0, 0], [0, 2]] {
            profile.push_sample(&[at], &values, &[]);
        }
        profile.drop_zero_samples();
        let values: Vec<_> = profile.samples().map(|sample| sample.values()).collect();
        assert_eq!(values, [[1, -1], [0, 2]]);
    }
}
