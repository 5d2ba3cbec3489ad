//! Sampler: which allocations are recorded, and what each of them stands for.
//!
//! Context: sampled. Floating point only; no memory but the thread's own.
//! Invariant: the weight is decided here, once, from the probability that this
//! very allocation had of being recorded.
//!
//! Imagine the bytes that a thread allocates as a line, and samples as points on
//! it that fall independently, one in *P* bytes on the average: gaps between them
//! are exponential. An allocation of *s* bytes is recorded when a point falls
//! among its bytes, so with probability p = 1 − exp(−s/P), and stands for 1/p
//! objects. The line has no memory: wherever one stops and looks, what comes
//! behind is distributed as if it began there. So a gap may be cut short at any
//! place and drawn anew, with another period. [`Local::armed`] says what the end
//! of the countdown is:
//!
//! | armed | the countdown ends at | what happens there |
//! |---|---|---|
//! | yes | a point | the allocation that holds it is recorded |
//! | no | a place to look again | a new gap is drawn from there |
//!
//! A thread's first allocation finds all bits zero: a place to look again. An
//! allocation that such a place falls into is decided by one period, the one that
//! governed its first bytes; a changed period counts from the next one on.
//!
//! Source: drawing the gap rather than deciding about each byte is J. S. Vitter's
//! ("Faster methods for random sampling", CACM 27(7), 1984). For allocations it is
//! tcmalloc's (docs/sampling.md), which also keeps the weight with the sample and does not
//! compute it when the profile is read.

use crate::local::Local;
use crate::math;

/// What one sampled object stands for. Decided once, here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Weight {
    /// The object's own size.
    pub size_bytes: u64,
    /// Objects it stands for, in 1/256.
    pub objects_q8: u64,
    /// Bytes it stands for.
    pub bytes: u64,
}

/// Bytes after which a thread looks again at the latest, so that a period that
/// was lowered reaches it. One entry into the cold path in 64 MiB is nothing.
const LOOK_AGAIN_BYTES: i64 = 64 << 20;

/// Decides about the allocation of `size_bytes` that made the countdown run out,
/// and draws the next gap. `period` is the mean gap in bytes from here on; 0: off.
pub fn decide(local: &Local, size_bytes: u64, period: u64) -> Option<Weight> {
    // The bytes of this allocation that lie behind the end of the countdown.
    let behind = local.left().unsigned_abs().min(size_bytes.max(1));
    let (hit, governed_by, counted) = match local.gap_period.get() {
        // Off until here, or a new thread: no point could fall before.
        0 => (draw(local, period) < behind as i64, period, behind),
        was => {
            let hit = local.armed.get() || draw(local, was) < behind as i64;
            (hit, was, size_bytes.max(1))
        }
    };
    let gap = draw(local, period);
    arm(local, gap, period);
    if !hit {
        return None;
    }
    Some(weigh(local, size_bytes, hazard(counted, governed_by)))
}

/// Forgets the gap under way, so that the next allocation is decided by the
/// period in force then. Without bias, as no gap has a memory.
pub fn restart(local: &Local) {
    local.armed.set(false);
    local.gap_period.set(0);
    local.set_left(0);
}

/// Forgets the gap under way and looks again `bytes` later, which go unrecorded.
pub fn look_again_after(local: &Local, bytes: i64) {
    local.armed.set(false);
    local.gap_period.set(0);
    local.set_left(bytes);
}

/// Sets the countdown to a gap, cut short where it is long.
fn arm(local: &Local, gap: i64, period: u64) {
    local.gap_period.set(period);
    local.armed.set(gap <= LOOK_AGAIN_BYTES);
    local.set_left(gap.min(LOOK_AGAIN_BYTES));
}

/// Expected points among `bytes`. Off, there are none; at period 1 each
/// allocation is recorded for certain.
fn hazard(bytes: u64, period: u64) -> f64 {
    match period {
        0 => 0.0,
        1 if bytes > 0 => f64::INFINITY,
        _ => float(bytes) / float(period),
    }
}

/// A gap in whole bytes: the number of bytes before the one that the point is in.
fn draw(local: &Local, period: u64) -> i64 {
    match period {
        0 => i64::MAX,
        1 => 0,
        _ => {
            // In (0, 1], so that the logarithm is finite.
            let uniform = ((random(local) >> 11) + 1) as f64 * UNIT;
            // Saturates where the product is too large.
            (-math::ln(uniform) * float(period)) as i64
        }
    }
}

fn weigh(local: &Local, size_bytes: u64, hazard: f64) -> Weight {
    // Never below 1; a hazard that underflows to 0 cannot have had a point.
    let objects = math::inverse_probability(hazard).max(1.0);
    Weight {
        size_bytes,
        objects_q8: rounded(local, objects * 256.0),
        bytes: rounded(local, objects * float(size_bytes)),
    }
}

/// Rounds up with the probability of the fraction, so that the mean is exact.
pub(crate) fn rounded(local: &Local, value: f64) -> u64 {
    // Cuts the fraction off, as values are not negative: `floor` is a call of libm.
    // Saturates where the value is too large, which then has no fraction.
    let whole = value as i64;
    let uniform = (random(local) >> 11) as f64 * UNIT;
    whole.unsigned_abs() + u64::from(uniform < value - whole as f64)
}

/// By way of a signed integer, for which there is an instruction. No object is larger.
fn float(integer: u64) -> f64 {
    integer.min(i64::MAX.unsigned_abs()).cast_signed() as f64
}

/// 2⁻⁵³: the top 53 bits of a word as a fraction.
const UNIT: f64 = 1.0 / (1u64 << 53) as f64;

/// The thread's generator: SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014). It passes BigCrush
/// and its state is one word, which a signal handler that comes between load and
/// store can at worst repeat.
pub(crate) fn random(local: &Local) -> u64 {
    let mut state = local.random.get();
    if state == 0 {
        state = seed(local);
    }
    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    local.random.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Apart for each thread (its state's address) and each run (the clock).
fn seed(local: &Local) -> u64 {
    let address = std::ptr::from_ref(local) as usize as u64;
    (address.rotate_left(32) ^ crate::sys::monotonic_nanos()) | 1
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Allocates once, as the hot path does.
    fn allocate(local: &Local, size: u64, period: u64) -> Option<Weight> {
        let left = local.countdown.get() - size as i64;
        local.countdown.set(left);
        if left < 0 {
            decide(local, size, period)
        } else {
            None
        }
    }

    fn seeded(seed: u64) -> Local {
        let local = Local::new();
        local.random.set(seed);
        local
    }

    #[test]
    fn period_one_records_all_with_weight_one() {
        let local = seeded(1);
        for size in [1, 2, 8, 1000, 1 << 40] {
            let weight = allocate(&local, size, 1).unwrap();
            assert_eq!(
                weight,
                Weight {
                    size_bytes: size,
                    objects_q8: 256,
                    bytes: size
                }
            );
        }
    }

    #[test]
    fn off_records_nothing_and_looks_seldom() {
        let local = seeded(1);
        assert_eq!(allocate(&local, 1 << 30, 0), None);
        assert_eq!(local.countdown.get(), LOOK_AGAIN_BYTES);
    }

    /// The sum of weights over `count` allocations of `size` bytes against the
    /// truth, in standard deviations. One allocation contributes a variance of
    /// (1 − p)/p objects.
    fn deviation(local: &Local, size: u64, count: u64, period: u64) -> (f64, f64) {
        let (mut objects, mut bytes) = (0.0, 0.0);
        for _ in 0..count {
            if let Some(weight) = allocate(local, size, period) {
                objects += weight.objects_q8 as f64 / 256.0;
                bytes += weight.bytes as f64;
            }
        }
        let p = -(-(size as f64) / period as f64).exp_m1();
        // Rounding adds at most a quarter of a unit's square to each sample.
        let sigma = (count as f64 * ((1.0 - p) / p + p * 0.25)).sqrt();
        let truth = count as f64;
        (
            (objects - truth) / sigma,
            (bytes / size as f64 - truth) / sigma,
        )
    }

    /// The sizes of tcmalloc's sampling test and some that are nastier. Odds of a
    /// false alarm: 2 × 20 figures at 4σ, 0.3 %; the seed is fixed.
    // Under Miri statistics take hours, and find what unit tests find.
    #[cfg(not(miri))]
    #[test]
    fn totals_are_unbiased_at_any_size() {
        let local = seeded(42);
        for size in [
            1,
            3,
            8,
            16,
            24,
            100,
            128,
            1024,
            4096,
            65_536,
            524_288,
            1 << 20,
            32 << 20,
        ] {
            let count = if size < 4096 { 2_000_000 } else { 40_000 };
            let (objects, bytes) = deviation(&local, size, count, 4096);
            assert!(
                objects.abs() < 4.0 && bytes.abs() < 4.0,
                "size {size}: {objects} σ, {bytes} σ"
            );
        }
    }

    /// A gap cut short every few bytes by a period that changes all the time.
    // Under Miri statistics take hours, and find what unit tests find.
    #[cfg(not(miri))]
    #[test]
    fn totals_stay_unbiased_while_the_period_changes() {
        let local = seeded(7);
        let (mut total, mut variance, mut truth) = (0.0, 0.0, 0.0);
        for round in 0..400_000u64 {
            let period = [64, 1000, 20_000, 0, 300][(round / 1000 % 5) as usize];
            let size = 1 + round % 700;
            if period == 0 {
                continue;
            }
            truth += size as f64;
            if let Some(weight) = allocate(&local, size, period) {
                total += weight.bytes as f64;
                let w = weight.objects_q8 as f64 / 256.0;
                variance += w * (w - 1.0) * (size * size) as f64 + 1.0;
            }
        }
        let deviation = (total - truth) / variance.sqrt();
        assert!(deviation.abs() < 4.0, "{deviation} σ");
    }

    /// An allocation that the place to look again falls into, by a period that is
    /// not the one in force there any more. Half of it lies on either side.
    // Under Miri statistics take hours, and find what unit tests find.
    #[cfg(not(miri))]
    #[test]
    fn changed_period_does_not_bend_the_allocation_it_meets() {
        let (local, rounds) = (seeded(5), 200_000);
        let (size, was) = (1000, 3000);
        let mut objects = 0.0;
        for _ in 0..rounds {
            let gap = draw(&local, was);
            local.gap_period.set(was);
            local.armed.set(gap <= 500);
            local.countdown.set(gap.min(500));
            if let Some(weight) = allocate(&local, size, 10) {
                objects += weight.objects_q8 as f64 / 256.0;
            }
        }
        let p = -(-(size as f64) / was as f64).exp_m1();
        let sigma = (f64::from(rounds) * (1.0 - p) / p).sqrt();
        let deviation = (objects - f64::from(rounds)) / sigma;
        assert!(deviation.abs() < 4.0, "{deviation} σ");
    }

    #[test]
    fn allocation_of_no_bytes_weighs_no_bytes() {
        let local = seeded(1);
        for (armed, was) in [(true, 100), (false, 100), (false, 0)] {
            local.armed.set(armed);
            local.gap_period.set(was);
            local.countdown.set(-1);
            if let Some(weight) = decide(&local, 0, 100) {
                assert_eq!((weight.size_bytes, weight.bytes), (0, 0));
                assert!(weight.objects_q8 < 256 * 200);
            }
        }
    }

    /// Anderson–Darling against the exponential distribution with known mean:
    /// A² above 6.0 happens once in a thousand (Marsaglia and Marsaglia 2004);
    /// the seed is fixed.
    // Under Miri statistics take hours, and find what unit tests find.
    #[cfg(not(miri))]
    #[test]
    fn gaps_are_exponential() {
        let local = seeded(1234);
        let period = 1u64 << 40;
        let n = 20_000;
        let mut gaps: Vec<f64> = (0..n)
            .map(|_| draw(&local, period) as f64 / period as f64)
            .collect();
        gaps.sort_by(f64::total_cmp);
        let cdf = |x: f64| -(-x).exp_m1();
        let sum: f64 = (0..n)
            .map(|i| {
                let weight = (2 * i + 1) as f64;
                weight * (cdf(gaps[i]).ln() - gaps[n - 1 - i])
            })
            .sum();
        let a_squared = -(n as f64) - sum / n as f64;
        assert!(a_squared < 6.0, "A² = {a_squared}");
    }
}
