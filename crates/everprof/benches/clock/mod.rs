//! Nanoseconds of a loop's turns, beside the same loop over bare `System`.
//!
//! The two sides take turns and each keeps its best round: what disturbs a
//! machine only ever adds time. Without cargo's `--bench` each side runs once,
//! so that a test run over all targets stays quick.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::time::Instant;

/// The allocator under test. No global allocator: only the loops are recorded.
pub static PROFILED: everprof::Alloc = everprof::Alloc::system();

const ROUNDS: u32 = 50;

/// Prints what each of `turns` costs over `System`, over everprof, and the
/// difference. The closures do all the turns at one call.
pub fn compare(name: &str, turns: u32, mut bare: impl FnMut(), mut profiled: impl FnMut()) {
    let (mut best_bare, mut best_profiled) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds() {
        best_bare = best_bare.min(nanos(&mut bare));
        best_profiled = best_profiled.min(nanos(&mut profiled));
    }
    let [bare, profiled] = [best_bare, best_profiled].map(|nanos| nanos / f64::from(turns));
    println!(
        "{name:<48}{bare:>10.2}{profiled:>10.2}{:>+10.2}",
        profiled - bare
    );
}

/// Heads the columns of [`compare`].
pub fn heading(unit: &str) {
    println!(
        "{unit:<48}{:>10}{:>10}{:>10}",
        "System", "everprof", "added"
    );
}

/// Rounds to run: one where cargo is not benchmarking.
pub fn rounds() -> u32 {
    if std::env::args().any(|argument| argument == "--bench") {
        ROUNDS
    } else {
        1
    }
}

fn nanos(work: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64
}

/// Allocates and frees `count` objects of `layout`, which is not empty.
#[inline(never)]
pub fn pairs(allocator: &impl GlobalAlloc, layout: Layout, count: u32) {
    for _ in 0..count {
        // SAFETY: no layout here is empty.
        let object = black_box(unsafe { allocator.alloc(black_box(layout)) });
        // SAFETY: it came from this allocator with this layout, just above.
        unsafe { allocator.dealloc(object, layout) };
    }
}
