//! An inner allocator that refuses: null comes through, nothing is recorded for
//! it, and what was there before stays whole. (A block that is only compared
//! with null is optimised away, and the comparison with it: hence `black_box`.)

use std::alloc::{Layout, alloc, alloc_zeroed, realloc};
use std::hint::black_box;

use testprograms::Block;

fn main() {
    // Larger than any address space: refused by every allocator.
    let impossible =
        Layout::from_size_align(isize::MAX as usize & !4095, 8).expect("a valid layout");
    let over_aligned =
        Layout::from_size_align(isize::MAX as usize & !4095, 4096).expect("a valid layout");
    for round in 0..2000 {
        for layout in [impossible, over_aligned] {
            // SAFETY: the size is not zero; the answer is only compared.
            assert!(black_box(unsafe { alloc(layout) }).is_null());
            // SAFETY: as above.
            assert!(black_box(unsafe { alloc_zeroed(layout) }).is_null());
        }
        for align in [1, 8, 16, 64] {
            let layout = Layout::from_size_align(1000, align).expect("a valid layout");
            // SAFETY: the size is not zero.
            let block = unsafe { alloc(layout) };
            assert!(!block.is_null());
            // SAFETY: `block` has 1000 bytes.
            unsafe { block.write_bytes(round as u8, 1000) };
            // SAFETY: `block` has this layout; the size stays below isize::MAX.
            assert!(unsafe { realloc(block, layout, impossible.size()) }.is_null());
            // SAFETY: a refused realloc leaves the block's 1000 bytes as they were.
            let kept = unsafe { std::slice::from_raw_parts(block, 1000) };
            assert!(kept.iter().all(|&byte| byte == round as u8));
            // SAFETY: `block` has this layout.
            unsafe { std::alloc::dealloc(block, layout) };
        }
        drop(Block::new(Layout::new::<[u8; 500]>(), 3));
    }
    testprograms::ok();
}
