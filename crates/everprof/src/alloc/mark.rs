//! Mark: the bit of its address that tells a sampled object.
//!
//! Context: hot.
//! Invariant: a sampled object has its mark; an object without one is certainly not sampled.
//!
//! A free is told nothing but an address and a layout, so the address says
//! it: each alignment has a *mark*, a bit of the address that is set in every
//! sampled object and seldom in others. For align ≤ 8 that is bit 3, clear where
//! an inner allocator aligns its blocks to 16, as most do. For align a ≥ 16 it is
//! a itself, and a sampled object stands at an odd multiple of a.
//!
//! ```text
//!  inner block of size + mark, mark clear    mark set in the block's own address
//!  ├── unused ──┼──── object ────┤           ├──── object ────┼── unused ──┤
//!               ▲ shifted by mark            ▲ not shifted
//! ```
//!
//! One test covers all layouts: `address & (align | 8)`. For align a ≤ 8 it sees
//! bit 3, and the bit a for nothing. For align a ≥ 16 bit 3 is clear, so it sees
//! bit a; every second unsampled object passes too. True means *perhaps*: the
//! recorder's filter is asked, then its store of sampled objects.
//!
//! No mark is below 8: programs read words out of `Vec<u8>`s, which no
//! allocator puts at odd addresses, and a profiler must not be the first.
//!
//! Source: the idea of marking sampled objects by their low address bits is ours.

use std::alloc::Layout;

/// The least mark: the bit of the address that tells a sampled object of align ≤ 8.
const LEAST_MARK: usize = 8;

/// The bit of its address that tells a sampled object, and the bytes that it
/// may be moved up by to set it: a multiple of `align`, a power of two.
#[inline(always)]
pub(super) fn mark(align: usize) -> usize {
    align.max(LEAST_MARK)
}

/// The bits that are looked at in an address: asking for `mark(align)` alone
/// would add a `cmp` and a `cmov`.
#[inline(always)]
pub(super) fn marks(align: usize) -> usize {
    align | LEAST_MARK
}

/// The alignment that has these marks. The slow side of a free gets the marks
/// and works it out, so that the fast side need not keep a copy: one `mov`.
#[inline(always)]
pub(super) fn align_of_marks(marks: usize) -> usize {
    match marks & !LEAST_MARK {
        0 => LEAST_MARK,
        align => align,
    }
}

/// False: certainly no sampled object. Compiles to `or`, `test`, `jne`.
#[inline(always)]
pub(super) fn may_be_marked(object: *mut u8, align: usize) -> bool {
    object.addr() & marks(align) != 0
}

/// A sampled object in the block at `base` must be moved up to show its mark.
#[inline(always)]
pub(super) fn must_shift(base: *mut u8, align: usize) -> bool {
    base.addr() & mark(align) == 0
}

/// How far that moves it.
#[inline(always)]
pub(super) fn distance(shifted: bool, align: usize) -> usize {
    if shifted { mark(align) } else { 0 }
}

/// The layout that the inner allocator is asked for where the object is
/// sampled; none where it would be larger than a layout can be.
#[inline(always)]
pub(super) fn sampled_layout(size: usize, align: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(mark(align))?, align).ok()
}
