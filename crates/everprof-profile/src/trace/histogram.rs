//! Histogram: how often which length of time, to an eighth.
//!
//! Context: cold.
//! Invariant: buckets are in order and none is empty.
//! Source: eight linear parts of each power of two, as HdrHistogram has them: a percentile
//! is at most 12.5 % too large. Kept sparsely, as a site of allocations has some twenty
//! different lengths and there may be 100,000 sites.

/// Lengths of time, in a trace's units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Numbers of buckets, and how many lengths each has.
    buckets: Vec<(u16, u64)>,
    count: u64,
    total: u64,
    most: u64,
}

impl Histogram {
    /// Adds a length.
    pub(crate) fn add(&mut self, length: u64) {
        self.count += 1;
        self.total = self.total.saturating_add(length);
        self.most = self.most.max(length);
        self.add_to(bucket_of(length), 1);
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Histogram) {
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        self.most = self.most.max(other.most);
        for &(bucket, count) in &other.buckets {
            self.add_to(bucket, count);
        }
    }

    /// How many lengths there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The greatest.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// The length that so many in a hundred do not exceed, at most an eighth too large; 0 if
    /// there is none.
    pub fn percentile(&self, percent: u32) -> u64 {
        let wanted = (u128::from(self.count) * u128::from(percent)).div_ceil(100);
        let mut seen = 0u128;
        for &(bucket, count) in &self.buckets {
            seen += u128::from(count);
            if seen >= wanted {
                return last_of(bucket).min(self.most);
            }
        }
        self.most
    }

    /// Greatest lengths of the buckets with their counts, the shortest first.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let last = |bucket| last_of(bucket).min(self.most);
        self.buckets
            .iter()
            .map(move |&(bucket, n)| (last(bucket), n))
    }

    fn add_to(&mut self, bucket: u16, more: u64) {
        match self
            .buckets
            .binary_search_by_key(&bucket, |&(known, _)| known)
        {
            Ok(at) => self.buckets[at].1 += more,
            Err(at) => self.buckets.insert(at, (bucket, more)),
        }
    }
}

/// Parts of a power of two, as a power of two.
const PART_BITS: u32 = 3;

fn bucket_of(length: u64) -> u16 {
    let parts = 1 << PART_BITS;
    if length < parts {
        return length as u16;
    }
    let shift = length.ilog2() - PART_BITS;
    ((u64::from(shift) + 1) * parts + (length >> shift & (parts - 1))) as u16
}

/// The greatest length in a bucket.
fn last_of(bucket: u16) -> u64 {
    let (bucket, parts) = (u64::from(bucket), 1 << PART_BITS);
    if bucket < parts {
        return bucket;
    }
    let shift = bucket / parts - 1;
    let first = (parts + bucket % parts) << shift;
    first + ((1u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut next = 0u64;
        for bucket in 0..=bucket_of(u64::MAX) {
            assert_eq!(bucket_of(next), bucket);
            let last = last_of(bucket);
            assert_eq!(bucket_of(last), bucket);
            assert!(last - next <= next / 8, "{next}..{last}");
            next = last.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last bucket ends with the last number");
    }

    #[test]
    fn percentiles_are_at_most_an_eighth_too_large() {
        let mut histogram = Histogram::default();
        for length in 1..=1000 {
            histogram.add(length);
        }
        assert_eq!((histogram.count(), histogram.total()), (1000, 500_500));
        for percent in [1, 50, 90, 99, 100] {
            let exact = u64::from(percent) * 10;
            let told = histogram.percentile(percent);
            assert!(
                (exact..=exact + exact / 8).contains(&told),
                "{percent}: {told}"
            );
        }
        assert_eq!(histogram.percentile(100), 1000);
        assert_eq!(Histogram::default().percentile(50), 0);
    }

    #[test]
    fn merging_is_adding() {
        let (mut a, mut b, mut both) = Default::default();
        for n in 0..100u64 {
            let half: &mut Histogram = if n % 3 == 0 { &mut a } else { &mut b };
            half.add(n * n);
            Histogram::add(&mut both, n * n);
        }
        a.merge(&b);
        assert_eq!(a, both);
    }
}
