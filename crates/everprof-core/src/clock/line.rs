//! Line: from a counter's ticks to nanoseconds, and what proves its slope.
//!
//! Context: any. Invariant: a line that two pairs prove lies on or above the kernel's clock
//! from the second pair on, and goes faster by one part in 100,000 at the most, for as
//! long as the kernel's clock keeps the rate that it had between the two.
//!
//! ```text
//!  counter   b₁ ─ τ₁ ─ a₁ ···················· b₂ ─ τ₂ ─ a₂
//!  kernel's       M₁                               M₂
//! ```
//!
//! The kernel's clock said M at some tick τ between two readings of the counter, b before
//! and a after it. So (a₂ − b₁) and (b₂ − a₁) are the most and the fewest ticks that M₂ − M₁ took;
//! with the fewer of them the line goes too fast, by no more than both differ. It begins
//! at b₂, where the clock said M₂ at the earliest. Both clocks are cut to whole units, and a tick
//! may be 40 ns: a reading may be of almost a unit later than it says, which is counted to
//! what is open, and added to where the line begins.

use super::Source;

/// The counter, the kernel's clock, and the counter again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The counter before.
    pub before: u64,
    /// The kernel's clock.
    pub nanos: u64,
    /// The counter after.
    pub after: u64,
}

/// A straight line from ticks to nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    base_ticks: u64,
    base_nanos: u64,
    /// Nanoseconds a tick, in 2⁻³²: rounded up by less than 10⁻⁸ of itself below 40 GHz.
    rate: u64,
}

impl Pair {
    /// As of now.
    #[inline]
    pub fn read(source: &impl Source) -> Self {
        let before = source.ticks_in_order();
        let nanos = source.nanos();
        Self {
            before,
            nanos,
            after: source.ticks_in_order(),
        }
    }

    /// How many ticks it may have been read in.
    pub(super) fn width_ticks(&self) -> u64 {
        self.after.saturating_sub(self.before).saturating_add(1)
    }

    pub(super) fn to_words(self) -> [u64; 3] {
        [self.before, self.nanos, self.after]
    }

    pub(super) fn from_words([before, nanos, after]: [u64; 3]) -> Self {
        Self {
            before,
            nanos,
            after,
        }
    }
}

impl Line {
    /// Where ticks are nanoseconds.
    pub const IDENTITY: Self = Self {
        base_ticks: 0,
        base_nanos: 0,
        rate: 1 << SHIFT,
    };

    /// The line through two pairs. `None`: they are too close to each other to prove its
    /// slope, or one of the clocks did not go on.
    #[must_use]
    pub fn proven_by(first: &Pair, second: &Pair) -> Option<Self> {
        let fewest_ticks = second.before.checked_sub(first.after)?.checked_sub(1)?;
        let open_ticks = first.width_ticks().checked_add(second.width_ticks())?;
        let nanos = second.nanos.checked_sub(first.nanos)?;
        let is_proven =
            open_ticks <= fewest_ticks / OPEN_PARTS && fewest_ticks > 0 && nanos >= LEAST_NANOS;
        if !is_proven {
            return None;
        }
        let rate = ((u128::from(nanos) + 1) << SHIFT).div_ceil(u128::from(fewest_ticks));
        // Less than a second a tick, so that the product in `nanos_at` keeps its sign.
        let rate = u64::try_from(rate).ok().filter(|rate| *rate < 1 << 62)?;
        Some(Self {
            base_ticks: second.before,
            base_nanos: second.nanos.checked_add(2 + (rate >> SHIFT))?,
            rate,
        })
    }

    /// Nanoseconds at `ticks`, on the kernel's clock; also before the line begins.
    #[inline(always)]
    #[must_use]
    pub fn nanos_at(&self, ticks: u64) -> u64 {
        let since = ticks.wrapping_sub(self.base_ticks).cast_signed();
        let nanos = (i128::from(since) * i128::from(self.rate.cast_signed())) >> SHIFT;
        self.base_nanos.wrapping_add(nanos as u64)
    }

    /// How long so many ticks take, in nanoseconds.
    #[must_use]
    pub fn nanos_of(&self, ticks: u64) -> u64 {
        let nanos = (u128::from(ticks) * u128::from(self.rate)) >> SHIFT;
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// Ticks in a second.
    #[must_use]
    pub fn ticks_a_second(&self) -> u64 {
        let ticks = (1_000_000_000_u128 << SHIFT) / u128::from(self.rate.max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    pub(super) fn to_words(self) -> [u64; 3] {
        [self.base_ticks, self.base_nanos, self.rate]
    }

    #[inline(always)]
    pub(super) fn from_words([base_ticks, base_nanos, rate]: [u64; 3]) -> Self {
        Self {
            base_ticks,
            base_nanos,
            rate,
        }
    }
}

const SHIFT: u32 = 32;

/// What both pairs leave open is at most 8 millionths of what lies between them: 40 to 60 ns
/// each are so after 10 to 15 ms.
const OPEN_PARTS: u64 = 125_000;
/// And whole nanoseconds 2 millionths.
const LEAST_NANOS: u64 = 1_000_000;

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pair(before: u64, nanos: u64, after: u64) -> Pair {
        Pair {
            before,
            nanos,
            after,
        }
    }

    #[test]
    fn line_is_proven_by_pairs_that_are_narrow_or_far_apart() {
        // 2 ticks a nanosecond; 100 ticks are left open by each.
        let first = pair(1_000, 500, 1_099);
        let after = |nanos: u64| pair(1_000 + 2 * nanos, 500 + nanos, 1_099 + 2 * nanos);
        assert_eq!(Line::proven_by(&first, &after(12_500_000)), None);
        let line = Line::proven_by(&first, &after(12_500_050)).unwrap();
        assert!(line.ticks_a_second().abs_diff(2_000_000_000) <= 20_000);
        let exact = |nanos: u64| pair(1_000 + 2 * nanos, 500 + nanos, 1_000 + 2 * nanos);
        assert_eq!(Line::proven_by(&exact(0), &exact(999_999)), None);
        assert!(Line::proven_by(&exact(0), &exact(1_000_000)).is_some());
    }

    #[test]
    fn clock_that_stands_still_or_goes_back_proves_nothing() {
        let first = pair(1 << 40, 1 << 40, 1 << 40);
        let later = first.nanos + (1 << 30);
        for other in [
            first,
            pair(1 << 40, later, 1 << 40),
            pair(0, later, 0),
            pair(1 << 41, 1 << 40, 1 << 41),
            pair(1 << 41, 0, 1 << 41),
        ] {
            assert_eq!(Line::proven_by(&first, &other), None, "{other:?}");
        }
    }

    #[test]
    fn ticks_before_the_line_begins_are_times_before_it() {
        let first = pair(0, 1_000_000_000, 0);
        let line = Line::proven_by(&first, &pair(1 << 31, 3_000_000_000, 1 << 31)).unwrap();
        assert!(line.nanos_at(0).abs_diff(1_000_000_000) < 10);
        assert!(line.nanos_at(1 << 30).abs_diff(2_000_000_000) < 10);
        assert!(line.nanos_of(1 << 30).abs_diff(1_000_000_000) < 10);
        assert_eq!(Line::IDENTITY.nanos_at(77), 77);
        assert_eq!(Line::IDENTITY.ticks_a_second(), 1_000_000_000);
    }
}
