//! Error bars: how far a sampled figure may stand from the truth, and when a growth is more
//! than chance.
//!
//! Context: cold.
//! Invariant: figures of disjoint samples add, and so do their variances.
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
//!
//! # The bar
//!
//! `±` is 1.96 standard deviations: 95 of 100 such bars hold the truth once a
//! site has some ten samples. A site with few samples has a bar as wide as its figure, and a
//! site with none shows nothing at all: under period *P* a site of *B* bytes in small
//! objects is missed altogether with probability `exp(−B/P)`.
//!
//! # Significance
//!
//! The difference of two figures has the sum of their variances. For two snapshots of one
//! process that is more than the truth (what is in both cancels), so the verdict errs
//! towards `noise`. Two corrections keep chance from being called growth:
//!
//! - *k* sites are looked at, so each is tested at 5 %/*k* (Bonferroni): with one hundred
//!   sites of pure noise, one report in twenty calls any of them significant.
//! - Counts are lumps, and the normal law knows none: 4 samples against 0 has z = 2
//!   (p = 4.6 %), where the binomial law says 12.5 %. The difference is therefore made
//!   smaller by one lump, `√(1 − p)/p` objects of the coarsest kind, before it is tested
//!   (Yates; 4 against 0 is then 13 %).

use crate::{Profile, Sample};

/// A figure of a profile with what chance may have added to it or taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: i64,
    /// Its variance, in squared units of the figure; 0 when it is exact.
    pub variance: f64,
    /// What one more or one less recorded sample would change, at most.
    pub lump: f64,
}

impl Estimate {
    /// A figure that was counted, not sampled.
    pub fn exact(value: i64) -> Estimate {
        Estimate {
            value,
            ..Estimate::default()
        }
    }

    /// Adds the figure of other samples.
    pub fn add(&mut self, other: &Estimate) {
        self.value = self.value.saturating_add(other.value);
        self.variance += other.variance;
        self.lump = self.lump.max(other.lump);
    }

    /// How much larger `later` is than this.
    pub fn growth_to(&self, later: &Estimate) -> Estimate {
        Estimate {
            value: later.value.saturating_sub(self.value),
            variance: self.variance + later.variance,
            lump: self.lump.max(later.lump),
        }
    }

    /// Half of the bar's length: with odds of 95 %, the truth is within `value ± error()`.
    pub fn error(&self) -> f64 {
        BAR_SIGMAS * self.variance.sqrt()
    }

    /// Whether a difference is more than chance, when it is one of `comparisons` looked at.
    pub fn is_significant(&self, comparisons: usize) -> bool {
        if self.variance <= 0.0 {
            return self.value != 0;
        }
        let distance = (self.value as f64).abs() - self.lump;
        distance > critical_sigmas(comparisons) * self.variance.sqrt()
    }
}

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

/// How many standard deviations a difference needs so that, of `comparisons` differences
/// that are all chance, none is beyond them with a probability of 95 %.
pub fn critical_sigmas(comparisons: usize) -> f64 {
    normal_quantile(1.0 - ERROR_ODDS / 2.0 / comparisons.max(1) as f64)
}

/// The point below which a standard normal value lies with probability `p`, 0.5 ≤ p < 1.
///
/// Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.2.23: wrong by less than
/// 4.5e-4, which is far below what a variance estimated from a few samples is worth.
fn normal_quantile(p: f64) -> f64 {
    let t = (-2.0 * (1.0 - p).max(f64::MIN_POSITIVE).ln()).sqrt();
    let above = 2.515517 + t * (0.802853 + t * 0.010328);
    let below = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308));
    t - above / below
}

/// 95 % of a normal law lie within.
const BAR_SIGMAS: f64 = 1.959964;
/// What a report may get wrong.
const ERROR_ODDS: f64 = 0.05;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Label, Profile};

    fn heap(period: i64) -> Profile {
        let mut profile = Profile::new(&[
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
        ]);
        profile.set_period_type("space", "bytes");
        profile.period = period;
        profile
    }

    fn estimate(profile: &Profile, kind: &str) -> Estimate {
        let index = profile.sample_type_index(kind).unwrap();
        let sampling = Sampling::of(profile, index).unwrap();
        let mut sum = Estimate::default();
        for sample in profile.samples() {
            sum.add(&sampling.estimate(&sample));
        }
        sum
    }

    /// xorshift64*, so that the test needs no crate and never changes.
    struct Random(u64);

    impl Random {
        fn unit(&mut self) -> f64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
        }

        /// Recorded objects of `count` with probability `p` each.
        fn binomial(&mut self, count: u32, p: f64) -> u32 {
            (0..count).filter(|_| self.unit() < p).count() as u32
        }
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (comparisons, sigmas) in [(1, 1.959964), (10, 2.807034), (1000, 4.055627)] {
            assert!((critical_sigmas(comparisons) - sigmas).abs() < 5e-4);
        }
        assert!(critical_sigmas(usize::MAX).is_finite());
    }

    #[test]
    fn variance_is_the_binomial_one() {
        let mut profile = heap(524_288);
        profile.push_sample(
            &[],
            &[0, 0, 2000, 2000 * 4096],
            &[Label::number("bytes", 4096, "bytes")],
        );
        let p = 1.0 - (-4096.0f64 / 524_288.0).exp();
        let objects = 2000.0 * (1.0 - p) / p;
        let got = estimate(&profile, "inuse_objects").variance;
        assert!((got / objects - 1.0).abs() < 1e-9);
        let got = estimate(&profile, "inuse_space").variance;
        assert!((got / (objects * 4096.0 * 4096.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn period_of_one_is_exact() {
        let mut profile = heap(1);
        profile.push_sample(&[], &[7, 56, 3, 24], &[]);
        assert_eq!(estimate(&profile, "inuse_space"), Estimate::exact(24));
        assert!(Estimate::exact(1).is_significant(1000));
        assert!(!Estimate::exact(0).is_significant(1));
    }

    #[test]
    fn mean_size_serves_without_a_label() {
        let [mut labelled, mut bare] = [heap(4096), heap(4096)];
        labelled.push_sample(
            &[],
            &[0, 0, 10, 640],
            &[Label::number("bytes", 64, "bytes")],
        );
        bare.push_sample(&[], &[0, 0, 10, 640], &[]);
        assert_eq!(
            estimate(&labelled, "inuse_space"),
            estimate(&bare, "inuse_space")
        );
    }

    #[test]
    fn profiles_without_a_period_in_bytes_have_no_bars() {
        let mut profile = heap(1000);
        profile.set_period_type("cpu", "nanoseconds");
        assert!(Sampling::of(&profile, 3).is_none());
        let mut profile = heap(0);
        profile.set_period_type("space", "bytes");
        assert!(Sampling::of(&profile, 3).is_none());
    }

    fn waits(samples: &[(i64, [i64; 2])]) -> Profile {
        let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
        profile.set_period_type("contentions", "count");
        profile.period = 1;
        for (period, values) in samples {
            let label = Label::number(PERIOD_LABEL, *period, "nanoseconds");
            profile.push_sample(&[], values, &[label]);
        }
        profile
    }

    #[test]
    fn what_was_measured_of_waits_is_exact_and_what_was_extrapolated_is_not() {
        let measured = waits(&[(1, [3, 5_000_000])]);
        assert_eq!(estimate(&measured, "delay"), Estimate::exact(5_000_000));
        let both = waits(&[(1, [3, 5_000_000]), (1_000_000, [40, 4_000_000])]);
        let delay = estimate(&both, "delay");
        assert_eq!((delay.value, delay.variance), (9_000_000, 4e12));
    }

    #[test]
    fn contentions_and_waits_without_a_period_have_no_bars() {
        let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
        profile.push_sample(&[], &[3, 5], &[]);
        assert!(Sampling::of(&profile, 1).is_none());
        profile.push_sample(&[], &[3, 5], &[Label::number(PERIOD_LABEL, 1, "")]);
        assert!(Sampling::of(&profile, 1).is_some());
        assert!(Sampling::of(&profile, 0).is_none());
    }

    /// 2,000 sites of 4,000 waits from 10 µs to 4 ms, spread evenly by logarithm, under a
    /// period of 1 ms. σ of the coverage is 0.5 %; beyond 4σ once in 16,000 seeds, and the
    /// seed is fixed.
    #[test]
    fn bars_of_delays_hold_the_truth_nineteen_times_in_twenty() {
        const PERIOD: f64 = 1e6;
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let mut held = 0;
        for _ in 0..2000 {
            let (mut truth, mut measured, mut extrapolated) = (0.0f64, 0.0f64, 0.0f64);
            for _ in 0..4000 {
                let delay = 1e4 * 400f64.powf(random.unit());
                truth += delay;
                if random.unit() * PERIOD < delay {
                    measured += delay;
                    extrapolated += (PERIOD - delay).max(0.0);
                }
            }
            let profile = waits(&[
                (1, [0, measured.round() as i64]),
                (PERIOD as i64, [0, extrapolated.round() as i64]),
            ]);
            let shown = estimate(&profile, "delay");
            held += u32::from((shown.value as f64 - truth).abs() <= shown.error());
        }
        let held = f64::from(held) / 2000.0;
        assert!((0.93..0.97).contains(&held), "{held}");
    }

    #[test]
    fn delta_of_what_came_and_went_still_scatters() {
        let mut profile = heap(524_288);
        profile.duration_nanos = 1;
        profile.push_sample(
            &[],
            &[1000, 64_000, 0, 0],
            &[Label::number("bytes", 64, "")],
        );
        let growth = estimate(&profile, "inuse_objects");
        assert_eq!(growth.value, 0);
        assert!(growth.error() > 1000.0);
    }

    /// 2,000 sites of 400 objects with p = 0.1: coverage has σ = 0.5 %; beyond 4σ once in
    /// 16,000 seeds, and the seed is fixed. 40 samples a site leave the estimated variance a
    /// little wrong, which costs up to one percent.
    #[test]
    fn bars_hold_the_truth_nineteen_times_in_twenty() {
        let (size_bytes, objects) = (1000.0f64, 400u32);
        let period = -size_bytes / (1.0f64 - 0.1).ln();
        let p = recording_probability(size_bytes, period);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let held = (0..2000)
            .filter(|_| {
                let shown = f64::from(random.binomial(objects, p)) / p;
                let bar = BAR_SIGMAS * (shown * (1.0 - p) / p).sqrt();
                (shown - f64::from(objects)).abs() <= bar
            })
            .count() as f64
            / 2000.0;
        assert!((0.92..0.97).contains(&held), "{held}");
    }

    /// 1,000 reports of 20 sites without any growth. At most 5 % may call one significant;
    /// σ = 0.7 %, bound at 4σ: 7.8 %.
    #[test]
    fn noise_is_called_noise() {
        let mut random = Random(88_172_645_463_325_252);
        let p = 0.02f64;
        let mut wrong = 0;
        for _ in 0..1000 {
            wrong += u32::from((0..20).any(|_| {
                let [a, b] = [0, 0].map(|_: i32| {
                    let shown = f64::from(random.binomial(300, p)) / p;
                    Estimate {
                        value: shown as i64,
                        variance: shown * (1.0 - p) / p,
                        lump: (1.0 - p).sqrt() / p,
                    }
                });
                a.growth_to(&b).is_significant(20)
            }));
        }
        assert!(wrong < 78, "{wrong} of 1000");
    }

    #[test]
    fn four_samples_against_none_are_noise_and_forty_are_not() {
        let of_samples = |samples: i64| Estimate {
            value: samples * 1000,
            variance: samples as f64 * 1e6,
            lump: 1000.0,
        };
        let none = Estimate::default();
        assert!(!none.growth_to(&of_samples(4)).is_significant(1));
        assert!(none.growth_to(&of_samples(40)).is_significant(100));
        assert_eq!(of_samples(40).growth_to(&none).value, -40_000);
    }
}
