//! The logarithm and the exponential that gaps and weights are made of.
//!
//! Context: sampled. Integers' and the four basic operations only.
//! Invariant: within 4 units in the last place of the true value, on every platform the
//! same.
//!
//! Not the C library's: its functions are as exact as can be by tables of some KiB, so
//! that a program which uses none of them had 200 KiB more of libm in memory, for two
//! calls a sample. And the same seed gives the same samples everywhere.
//!
//! Source: the reductions are the usual ones (W. J. Cody, W. Waite, "Software Manual for the
//! Elementary Functions", 1980).

/// The natural logarithm of a number in (0, 1] that is not subnormal.
///
/// x = 2^k · m with m near 1, and ln m = 2 artanh s, s = (m − 1) / (m + 1).
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    // Of m in [1/√2, √2) the exponent is k: what is subtracted has the bits of 1/√2.
    let above = bits.wrapping_sub(HALF_ROOT_BITS);
    let k = above.cast_signed() >> MANTISSA_BITS;
    let m = f64::from_bits((above & MANTISSA) + HALF_ROOT_BITS);
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    // |s| ≤ 0.172: the first term left out is less than 2⁻⁵⁵ of the first.
    let tail = ARTANH
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| sum * square + coefficient);
    let k = k as f64;
    // The small parts first.
    k * LN_2_HIGH + (2.0 * s + (2.0 * s * square * tail + k * LN_2_LOW))
}

/// 1 − e^−x for x ≥ 0, exact to the last places also where x is tiny.
///
/// x = k ln 2 + r with |r| ≤ ln 2 / 2.
pub(crate) fn one_minus_exp_neg(x: f64) -> f64 {
    // Nothing is left of e^−x beside 1; also infinity and what is not a number.
    if x.is_nan() || x >= 40.0 {
        return 1.0;
    }
    // Not negative: cutting off is rounding down.
    let k = (x * LOG2_E + 0.5) as u32;
    let r = x - f64::from(k) * LN_2_HIGH - f64::from(k) * LN_2_LOW;
    // e^−r − 1, of which the first term left out is less than 2⁻⁵⁵ of the first.
    let y = -r;
    let series = EXP
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| sum * y + coefficient);
    let less = y * series;
    if k == 0 {
        return -less;
    }
    let power = f64::from_bits((1023 - u64::from(k)) << MANTISSA_BITS);
    (1.0 - power) - power * less
}

const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
const HALF_ROOT_BITS: u64 = core::f64::consts::FRAC_1_SQRT_2.to_bits();
const LOG2_E: f64 = core::f64::consts::LOG2_E;

/// ln 2 in two parts, the first of which has zeroes for the last 20 bits: a product with
/// an exponent is exact.
const LN_2_HIGH: f64 = f64::from_bits(core::f64::consts::LN_2.to_bits() & !0xf_ffff);
/// ln 2 = 0.693147180559945309417232121458…, less the first part.
const LN_2_LOW: f64 = (core::f64::consts::LN_2 - LN_2_HIGH) + 2.319_046_813_846_299_6e-17;

/// artanh s = s + s³ (1/3 + s²/5 + s⁴/7 …)
const ARTANH: [f64; 10] = [
    1.0 / 3.0,
    1.0 / 5.0,
    1.0 / 7.0,
    1.0 / 9.0,
    1.0 / 11.0,
    1.0 / 13.0,
    1.0 / 15.0,
    1.0 / 17.0,
    1.0 / 19.0,
    1.0 / 21.0,
];

/// (e^y − 1) / y = 1 + y/2! + y²/3! …
const EXP: [f64; 13] = {
    let mut terms = [1.0; 13];
    let mut n = 1;
    while n < terms.len() {
        terms[n] = terms[n - 1] / (n + 1) as f64;
        n += 1;
    }
    terms
};

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    /// How far off, in units in the last place of `truth`.
    fn off(value: f64, truth: f64) -> u64 {
        value.to_bits().abs_diff(truth.to_bits())
    }

    /// Numbers in (0, 1] of all magnitudes, and next to those where something changes.
    fn numbers() -> impl Iterator<Item = f64> {
        let halves = (0..=60).map(|n| 0.5_f64.powi(n));
        let near = halves.flat_map(|half| {
            [half, half * core::f64::consts::FRAC_1_SQRT_2]
                .into_iter()
                .flat_map(|at| {
                    (-3_i64..=3)
                        .map(move |steps| f64::from_bits(at.to_bits().wrapping_add_signed(steps)))
                })
        });
        let count = if cfg!(miri) { 500 } else { 200_000 };
        let even = (1..=count).map(move |n| f64::from(n) / f64::from(count));
        near.chain(even).filter(|x| (0.0..=1.0).contains(x))
    }

    #[test]
    fn logarithm_is_the_c_librarys_to_the_last_places() {
        for x in numbers() {
            assert!(off(ln(x), x.ln()) <= 4, "ln {x}: {} for {}", ln(x), x.ln());
        }
        assert_eq!(ln(1.0), 0.0);
        // The least that is drawn.
        assert!(off(ln(1.0 / (1u64 << 53) as f64), -36.736_800_569_677_1) < 100);
    }

    #[test]
    fn probability_is_the_c_librarys_to_the_last_places() {
        for x in numbers().flat_map(|x| [x, x * 50.0]) {
            let truth = -(-x).exp_m1();
            let value = one_minus_exp_neg(x);
            assert!(off(value, truth) <= 4, "1 − exp(−{x}): {value} for {truth}");
        }
        assert_eq!(one_minus_exp_neg(0.0), 0.0);
        assert_eq!(one_minus_exp_neg(1e300), 1.0);
        assert_eq!(one_minus_exp_neg(f64::INFINITY), 1.0);
        assert!(one_minus_exp_neg(f64::MIN_POSITIVE) > 0.0);
    }
}
