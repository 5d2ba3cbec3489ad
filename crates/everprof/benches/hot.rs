//! An allocation and its free that are not sampled.

mod clock;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

use clock::{PROFILED, compare, heading, pairs};

const PAIRS: u32 = 100_000;
const VECTORS: u32 = 1000;

fn main() {
    // Far more than the loops allocate: at most the first event is sampled.
    everprof::heap::set_period(1 << 50);
    heading("ns a pair, not sampled");
    compare_pairs("64 B, align 8", PAIRS, Layout::new::<[u64; 8]>());
    compare_pairs("64 B, align 16", PAIRS, Layout::new::<[u128; 4]>());
    compare_pairs("64 KiB, align 8", PAIRS, Layout::new::<[u64; 8192]>());
    compare(
        "Vec<u64> doubled to 64 KiB",
        VECTORS,
        || (0..VECTORS).for_each(|_| double(&System)),
        || (0..VECTORS).for_each(|_| double(&PROFILED)),
    );
    everprof::heap::set_period(0);
    compare_pairs("64 B, align 8, period 0", PAIRS, Layout::new::<[u64; 8]>());
}

fn double(allocator: &impl GlobalAlloc) {
    let mut layout = Layout::new::<[u64; 4]>();
    // SAFETY: the layout is not empty.
    let mut object = unsafe { allocator.alloc(layout) };
    while layout.size() < 64 << 10 {
        let doubled = layout.size() * 2;
        // SAFETY: the object has this layout; the new size is not empty and far
        // from the greatest.
        object = black_box(unsafe { allocator.realloc(object, layout, doubled) });
        // SAFETY: a power of two, and a size that `realloc` has just accepted.
        layout = unsafe { Layout::from_size_align_unchecked(doubled, layout.align()) };
    }
    // SAFETY: the object has this layout by the last `realloc`.
    unsafe { allocator.dealloc(object, layout) };
}

fn compare_pairs(name: &str, count: u32, layout: Layout) {
    compare(
        name,
        count,
        || pairs(&System, layout, count),
        || pairs(&PROFILED, layout, count),
    );
}
