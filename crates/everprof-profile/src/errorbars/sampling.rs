//! Sampling: the variance of one sample, by the way in which its profile was sampled.
//!
//! Context: cold. Invariant: a figure without a variance is one that was counted, or of a
//! profile that does not say how it was sampled.
//! Source: Horvitz and Thompson, "A generalization of sampling without replacement from a
//! finite universe", 1952; the weights are those of docs/sampling.md.
//!
//! # A site's variance
//!
//! With period *P*, an object of *s* bytes is recorded with probability `p = 1 − exp(−s/P)`
//! and then stands for `1/p` objects. Points of a Poisson process over the allocated bytes
//! decide, so objects are recorded independently of one another. Of *N* objects
//! `n ~ Binomial(N, p)` are recorded, the profile shows `N̂ = n/p`, and
//!
//! ```text
//! E[N̂]   = N
//! Var(N̂) = N·p·(1 − p)/p² = N·(1 − p)/p        objects
//! Var(B̂) = s²·N·(1 − p)/p = s·B·(1 − p)/p      bytes, B = s·N
//! ```
//!
//! *N* is not known; with `N̂` in its place the estimate of the variance is itself unbiased.
//! In use and allocated need no formulas of their own: an object in use was recorded with
//! the same *p*, and its weight left with it when it was freed.
//!
//! Sizes: the label `bytes` of a sample is its object's size, or the upper bound of a size
//! class at most 12.5 % wide, which moves the error bar by less than that. Without the label
//! the mean size of the sample's objects serves.
//!
//! # Waits
//!
//! Under period *R* a wait of *d* ns is recorded with probability `p = min(1, d/R)` and then
//! stands for `max(d, R)` ns: the *d* that were measured, and `R − d` for those like it that
//! were not recorded. Its part of the variance is
//!
//! ```text
//! d²·(1 − p)/p² = R·(R − d)
//! ```
//!
//! that is, *R* times what was extrapolated. So a sample holds either what was measured or what
//! was extrapolated, and its label `period` says which: 1 for the former, which is exact, and
//! *R* for the latter, whose variance is *R* times its delay. Both only grow, and add and
//! subtract like any others. Of contentions the variance is `Σ R/d·(R/d − 1)`, which no sum
//! of such figures tells: they have no bars. Nor has a profile without the label, as Go's,
//! which does not say how it was sampled.

use super::Estimate;
use crate::{Profile, Sample};

/// How the values of one sample type were sampled.
#[derive(Clone, Copy, Debug)]
pub struct Sampling(Way);

#[derive(Clone, Copy, Debug)]
enum Way {
    Heap(Heap),
    Waits(Waits),
}

/// By points on the line of allocated bytes.
#[derive(Clone, Copy, Debug)]
struct Heap {
    period_bytes: f64,
    /// The values of a sample that hold its objects and its bytes.
    objects: usize,
    space: usize,
    /// Whether the figure asked for is in bytes.
    is_space: bool,
    /// In a delta, the value that holds the objects allocated meanwhile.
    allocated: Option<usize>,
}

/// One by one, by their lengths.
#[derive(Clone, Copy, Debug)]
struct Waits {
    delay: usize,
}

impl Sampling {
    /// How the `value_index`th value was sampled; `None` where the profile does not say, as
    /// when its period is no number of bytes and its samples have no periods.
    pub fn of(profile: &Profile, value_index: usize) -> Option<Sampling> {
        let way = Heap::of(profile, value_index)
            .map(Way::Heap)
            .or_else(|| Waits::of(profile, value_index).map(Way::Waits))?;
        Some(Sampling(way))
    }

    /// The figure of one sample.
    pub fn estimate(&self, sample: &Sample<'_>) -> Estimate {
        match &self.0 {
            Way::Heap(heap) => heap.estimate(sample),
            Way::Waits(waits) => waits.estimate(sample),
        }
    }
}

impl Heap {
    fn of(profile: &Profile, value_index: usize) -> Option<Heap> {
        let period_type = profile.period_type()?;
        if (period_type.kind, period_type.unit) != ("space", "bytes") || profile.period <= 0 {
            return None;
        }
        let kind = profile.sample_types().nth(value_index)?.kind;
        let family = kind
            .strip_suffix("_objects")
            .or_else(|| kind.strip_suffix("_space"))?;
        let value_of = |suffix: &str| profile.sample_type_index(&format!("{family}{suffix}"));
        let is_delta_of_in_use = family == "inuse" && profile.duration_nanos != 0;
        Some(Heap {
            period_bytes: profile.period as f64,
            objects: value_of("_objects")?,
            space: value_of("_space")?,
            is_space: kind.ends_with("_space"),
            allocated: if is_delta_of_in_use {
                profile.sample_type_index("alloc_objects")
            } else {
                None
            },
        })
    }

    fn estimate(&self, sample: &Sample<'_>) -> Estimate {
        let value_of = |index: usize| sample.values().get(index).copied().unwrap_or(0);
        let (objects, space) = (value_of(self.objects), value_of(self.space));
        let value = if self.is_space { space } else { objects };
        let size_bytes = match sample.number_label("bytes") {
            Some(size) if size > 0 => size as f64,
            _ if objects != 0 && space != 0 => (space as f64 / objects as f64).abs(),
            _ => return Estimate::exact(value),
        };
        let mut recorded = (objects as f64).abs();
        if let Some(index) = self.allocated {
            // In-use of a delta: what was born and has stayed, less what was there and has
            // gone. Both scatter though they cancel in the figure. Born is at most what was
            // allocated, gone at most what was freed.
            let allocated = value_of(index) as f64;
            recorded = recorded.max(2.0 * allocated - objects as f64);
        }
        let p = recording_probability(size_bytes, self.period_bytes);
        let unit = if self.is_space { size_bytes } else { 1.0 };
        Estimate {
            value,
            variance: unit * unit * recorded * (1.0 - p) / p,
            lump: if recorded > 0.0 {
                unit * (1.0 - p).sqrt() / p
            } else {
                0.0
            },
        }
    }
}

impl Waits {
    fn of(profile: &Profile, value_index: usize) -> Option<Waits> {
        profile.sample_type_index("contentions")?;
        let delay = profile.sample_type_index("delay")?;
        let says_period = |sample: Sample<'_>| sample.number_label(PERIOD_LABEL).is_some();
        (value_index == delay && profile.samples().any(says_period)).then_some(Waits { delay })
    }

    fn estimate(&self, sample: &Sample<'_>) -> Estimate {
        let value = sample.values().get(self.delay).copied().unwrap_or(0);
        match sample.number_label(PERIOD_LABEL) {
            Some(period) if period > 1 && value != 0 => Estimate {
                value,
                variance: period as f64 * (value as f64).abs(),
                lump: period as f64,
            },
            _ => Estimate::exact(value),
        }
    }
}

/// The label of samples of waits: the period in nanoseconds that their delay was extrapolated
/// with; 1 where it was measured.
pub const PERIOD_LABEL: &str = "period";

/// The probability that an object is recorded. A period of one byte records everything.
pub fn recording_probability(size_bytes: f64, period_bytes: f64) -> f64 {
    if period_bytes <= 1.0 {
        return 1.0;
    }
    -(-size_bytes / period_bytes).exp_m1()
}
