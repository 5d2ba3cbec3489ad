//! Error bars: how far a sampled figure may stand from the truth, and when a growth is more
//! than chance.
//!
//! Context: cold.
//! Invariant: figures of disjoint samples add, and so do their variances.
//! Source: what a sample's variance is, and whose idea that was, says `sampling`.
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

mod sampling;

pub use sampling::{PERIOD_LABEL, Sampling, recording_probability};

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
mod tests;
