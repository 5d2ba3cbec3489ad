//! An allocation and its free that are both recorded, and what is left of that
//! where one in 8,192 is.

mod clock;

use std::alloc::{Layout, System};
use std::hint::black_box;

use clock::{PROFILED, compare, heading, pairs};

const PAIRS: u32 = 20_000;
const LAYOUT: Layout = Layout::new::<[u64; 8]>();

fn main() {
    heading("ns a pair");
    for (name, period) in [("period 1: all sampled", 1), ("period 512 KiB", 512 << 10)] {
        everprof::heap::set_period(period);
        for depth in [8, 32, 100] {
            let name = format!("{name}, {depth} frames further down");
            descend(depth, &mut || {
                compare(
                    &name,
                    PAIRS,
                    || pairs(&System, LAYOUT, PAIRS),
                    || pairs(&PROFILED, LAYOUT, PAIRS),
                );
            });
        }
    }
}

#[inline(never)]
fn descend(depth: u32, then: &mut dyn FnMut()) {
    if depth == 0 {
        then();
    } else {
        descend(depth - 1, then);
    }
    // Kept past the call, so that it is no tail call and the frame is real.
    black_box(depth);
}
