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
#[inline]
pub(crate) fn ln(x: f64) -> f64 {
    let constants = constants();
    let bits = x.to_bits();
    // Of m in [1/√2, √2) the exponent is k: what is subtracted has the bits of 1/√2.
    let above = bits.wrapping_sub(HALF_ROOT_BITS);
    let k = (above.cast_signed() >> MANTISSA_BITS) as f64;
    let m = f64::from_bits((above & MANTISSA) + HALF_ROOT_BITS);
    let s = (m - constants.one) / (m + constants.one);
    let square = s * s;
    let tail = series(&constants.artanh, square);
    let twice = s + s;
    // The small parts first.
    k * constants.ln_2_high + (twice + (twice * square * tail + k * constants.ln_2_low))
}

/// 1 ÷ (1 − e^−x) for x > 0, exact to the last places also where x is tiny.
#[inline]
pub(crate) fn inverse_probability(x: f64) -> f64 {
    let constants = constants();
    if x <= constants.quarter {
        // 1/x + 1/2 + x/12 − x³/720 …: (coth (x/2) + 1) / 2.
        let square = x * x;
        return constants.one / x + (constants.half + x * series(&constants.coth, square));
    }
    constants.one / one_minus_exp_neg(x)
}

/// 1 − e^−x for x ≥ 0, exact to the last places also where x is tiny.
///
/// x = k ln 2 + r with |r| ≤ ln 2 / 2.
#[cold]
fn one_minus_exp_neg(x: f64) -> f64 {
    // Nothing is left of e^−x beside 1; also infinity and what is not a number.
    if x.is_nan() || x >= 40.0 {
        return 1.0;
    }
    // Not negative: cutting off is rounding down.
    let k = (x * LOG2_E + 0.5) as u32;
    let r = x - f64::from(k) * LN_2_HIGH - f64::from(k) * LN_2_LOW;
    // e^−r − 1, of which the first term left out is less than 2⁻⁵⁵ of the first.
    let y = -r;
    let less = y * series(&EXP, y);
    if k == 0 {
        return -less;
    }
    let power = f64::from_bits((1023 - u64::from(k)) << MANTISSA_BITS);
    (1.0 - power) - power * less
}

/// The sum of the coefficients' terms, by W. G. Horner's scheme.
#[inline(always)]
fn series(coefficients: &[f64], x: f64) -> f64 {
    let terms = coefficients.iter().rev();
    terms.fold(0.0, |sum, coefficient| sum * x + coefficient)
}

/// What nearly every sample needs, in two lines of the cache. As literals the numbers would
/// stand where the linker puts those of all code, each in another line.
#[repr(C, align(64))]
struct Constants {
    /// artanh s = s + s³ (a₀ + a₁ s² + a₂ s⁴ …)
    artanh: [f64; 8],
    ln_2_high: f64,
    ln_2_low: f64,
    one: f64,
    half: f64,
    quarter: f64,
    /// (coth (x/2) − 2/x) / 2 = x (c₀ + c₁ x² …)
    coth: [f64; 5],
}

static CONSTANTS: Constants = Constants {
    artanh: ARTANH,
    ln_2_high: LN_2_HIGH,
    ln_2_low: LN_2_LOW,
    one: 1.0,
    half: 0.5,
    quarter: 0.25,
    coth: COTH,
};

#[inline(always)]
fn constants() -> &'static Constants {
    // Or the compiler would make literals of them.
    core::hint::black_box(&CONSTANTS)
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

/// In place of 1/3, 1/5, 1/7 …: Chebyshev's approximation up to s² = (√2 − 1)² ÷ (√2 + 1)²,
/// calculated with 50 places. It is off by 3·10⁻²⁰ of the logarithm at most, where ten terms of
/// the series itself are needed for 2⁻⁵⁵.
const ARTANH: [f64; 8] = [
    0.333_333_333_333_333_3,
    0.200_000_000_000_004_38,
    0.142_857_142_854_018_06,
    0.111_111_111_958_569_59,
    0.090_908_978_200_664_53,
    0.076_931_198_514_073_29,
    0.066_343_865_693_284_43,
    0.065_433_130_739_200_51,
];

/// Bernoulli's numbers of even index, each divided by its index' factorial. Up to x = 1/4 the
/// first term left out is less than 2⁻⁶⁰ of the whole.
const COTH: [f64; 5] = [
    1.0 / 12.0,
    -1.0 / 720.0,
    1.0 / 30_240.0,
    -1.0 / 1_209_600.0,
    1.0 / 47_900_160.0,
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
    fn inverse_probability_is_the_c_librarys_to_the_last_places() {
        for x in numbers().flat_map(|x| [x, x * 50.0]).filter(|x| *x > 0.0) {
            let truth = 1.0 / -(-x).exp_m1();
            let value = inverse_probability(x);
            assert!(
                off(value, truth) <= 4,
                "1 ÷ (1 − exp(−{x})): {value} for {truth}"
            );
        }
        assert_eq!(inverse_probability(1e300), 1.0);
        assert_eq!(inverse_probability(f64::INFINITY), 1.0);
        assert_eq!(inverse_probability(0.0), f64::INFINITY);
        assert!(inverse_probability(f64::MIN_POSITIVE) > 1e300);
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
