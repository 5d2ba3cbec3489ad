//! Weight: what a thread's first signal stands for, and when the next is due.
//!
//! Context: signal; `deviation` is cold. Integers only. Invariant: the mean over the draws is exact, to one
//! part in 2³².
//!
//! A thread that runs through k ticks is to get k·t/P samples in the mean (t the tick,
//! P the period; see the parent's head). Its first tick gets ⌊t/P⌋ or one more. Of the
//! other k − 1 ticks the timer makes those that hold an expiry into signals; expiries
//! begin at a phase that is uniform in (0, P], so that (k − 1)·t/P are noticed.
//!
//! That is the thread's own time if ticks fall into it at random. Where more threads want
//! to run than can, they do less so: a thread begins to run as another is preempted, at a
//! tick, and a virtual machine that has to wait for its processor loses ticks. What a
//! thread ran behind its last one is then missing: measured, 6 to 15 ms a thread with 20
//! threads on two processors that others used as well. It is counted as unseen.

/// The first tick's weight. `draw` is 64 random bits.
pub(super) fn of_first(tick_nanos: u64, period_nanos: u64, draw: u64) -> u64 {
    let period = period_nanos.max(1);
    let rest = tick_nanos % period;
    tick_nanos / period + u64::from(below(period, draw) < rest)
}

/// Nanoseconds to the first expiry after that tick.
pub(super) fn phase(period_nanos: u64, draw: u64) -> u64 {
    below(period_nanos.max(1), draw) + 1
}

/// How far samples are from `cpu_nanos` of `threads` threads, as a standard deviation
/// that is not exceeded; `step_nanos` is the larger of tick and period.
///
/// One thread: its ticks are off by less than one at each end (variance t²/6), rounding
/// the first and the phase of the rest by less than one sample each (P²/4): together
/// less than 2/3 of the step's square. And where threads are so short that few have a
/// sample at all, no more than if samples fell at random: step × time.
pub(super) fn deviation(step_nanos: u64, threads: u64, cpu_nanos: u64) -> u64 {
    let step = u128::from(step_nanos);
    let by_thread = step * step * u128::from(threads) * 2 / 3;
    let by_chance = step * u128::from(cpu_nanos);
    // The root of less than 2¹²⁸.
    by_thread.min(by_chance).isqrt() as u64
}

/// A uniform number below `limit`.
fn below(limit: u64, draw: u64) -> u64 {
    ((u128::from(limit) * u128::from(draw)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every draw of a fine grid, so that the mean is the expectation to one part in
    /// as many.
    fn mean(of: impl Fn(u64) -> u64) -> f64 {
        const GRID: u64 = 20_000;
        let draws = (0..GRID).map(|n| n * (u64::MAX / GRID) + u64::MAX / GRID / 2);
        draws.map(|draw| of(draw) as f64).sum::<f64>() / GRID as f64
    }

    #[test]
    fn first_tick_weighs_tick_by_period_in_the_mean() {
        for (tick, period) in [(4, 10), (4, 4), (10, 1), (10, 3), (1, 10)] {
            let (tick, period) = (tick * 1_000_000, period * 1_000_000);
            let weight = mean(|draw| of_first(tick, period, draw));
            assert!((weight - tick as f64 / period as f64).abs() < 1e-3);
        }
    }

    #[test]
    fn phase_is_uniform_and_never_at_once() {
        assert_eq!(phase(10, 0), 1);
        assert_eq!(phase(10, u64::MAX), 10);
        assert!((mean(|draw| phase(1_000_000, draw)) - 500_000.5).abs() < 100.0);
    }

    /// A thread of any length, ticks at any place in it: what the kernel would notice.
    #[test]
    fn threads_of_any_length_get_their_share() {
        const TICK: u64 = 4_000;
        let mut state = 1_u64;
        let mut draw = move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state ^ state >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        for period in [1_000, 10_000] {
            for length in [500, 2_000, 3_999, 9_000, 100_000] {
                const THREADS: u64 = 200_000;
                let mut samples = 0;
                for _ in 0..THREADS {
                    let first = below(TICK, draw());
                    if first >= length {
                        continue;
                    }
                    samples += of_first(TICK, period, draw());
                    let last = first + (length - 1 - first) / TICK * TICK;
                    let due = first + phase(period, draw());
                    if due <= last {
                        samples += (last - due) / period + 1;
                    }
                }
                let truth = THREADS * length;
                let off = (samples * period).abs_diff(truth);
                let sigma = deviation(TICK.max(period), THREADS, truth);
                // The draws are fixed: no false alarm.
                assert!(off < 4 * sigma, "{length} by {period}: {off}, σ {sigma}");
            }
        }
    }
}
