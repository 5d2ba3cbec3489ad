//! `alloc_zeroed` of a gigabyte costs address space, not memory, sampled or
//! not. (For larger alignments std's `System` zeroes the block itself.)

use std::alloc::{Layout, alloc_zeroed, dealloc};

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("/proc/self/statm");
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse::<usize>().ok());
    pages.expect("resident pages are the second number") * 4096
}

fn main() {
    for align in [8, 16] {
        let layout = Layout::from_size_align(1 << 30, align).expect("a valid layout");
        let before = resident_bytes();
        // SAFETY: the size is not zero.
        let block = unsafe { alloc_zeroed(layout) };
        assert!(!block.is_null());
        // SAFETY: the block has that many bytes, all of them initialised to zero.
        let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
        assert!(bytes.iter().step_by(64 << 20).all(|&byte| byte == 0));
        let grown = resident_bytes().saturating_sub(before);
        assert!(
            grown < 64 << 20,
            "alloc_zeroed of 1 GiB at align {align} made {grown} bytes resident"
        );
        // SAFETY: `block` has this layout.
        unsafe { dealloc(block, layout) };
    }
    testprograms::ok();
}
