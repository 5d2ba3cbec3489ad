//! Stacks of any depth and shape: 512 functions that call one another.

use std::hint::black_box;

type Step = fn(usize, u64, &mut dyn FnMut());

/// Calls `then` from `depth` functions further down. Which functions those are
/// is up to `path`: equal paths give equal stacks, others most likely do not.
pub fn descend(depth: usize, path: u64, then: &mut dyn FnMut()) {
    next(depth, path, then);
}

#[inline(always)]
fn next(left: usize, path: u64, then: &mut dyn FnMut()) {
    if left == 0 {
        then();
    } else {
        // Knuth's MMIX generator: each level draws nine fresh bits.
        let path = path
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        STEPS[(path >> 55) as usize](left - 1, path, then);
    }
}

#[inline(never)]
fn step<const N: usize>(left: usize, path: u64, then: &mut dyn FnMut()) {
    // Kept past the call, so that it is no tail call and the frame is real.
    let frame = black_box([N; 4]);
    next(left, path, then);
    black_box(&frame);
}

/// `step::<0>` to `step::<511>`.
static STEPS: [Step; 512] = {
    let mut steps: [Step; 512] = [step::<0>; 512];
    macro_rules! row {
        ($($row:literal)*) => { $( row!(@ $row 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15); )* };
        (@ $row:literal $($column:literal)*) => { $(
            steps[$row * 16 + $column] = step::<{ $row * 16 + $column }>;
        )* };
    }
    row!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    steps
};
