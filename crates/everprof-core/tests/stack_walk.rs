//! Walks of real stacks, compared with those of the unwinder that exceptions use.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]

mod oracle;

use std::hint::black_box;

use everprof_core::stack::{Registers, StackEnd, ThreadMemory, capture};
use oracle::{assert_same_stack, both};

#[test]
fn a_plain_stack_is_walked_to_its_root() {
    assert_same_stack(&both());
}

#[inline(never)]
fn recurse(depth: usize, leaf: &mut dyn FnMut()) {
    // Frames of many sizes, some larger than a page.
    let mut room = [0_u8; 40];
    black_box(&mut room);
    if depth == 0 {
        leaf();
    } else if depth.is_multiple_of(7) {
        wide(depth - 1, leaf);
    } else {
        recurse(depth - 1, leaf);
    }
    black_box(&mut room);
}

#[inline(never)]
fn wide(depth: usize, leaf: &mut dyn FnMut()) {
    let mut room = [0_u8; 9000];
    black_box(&mut room);
    recurse(depth, leaf);
    black_box(&mut room);
}

#[test]
fn deep_recursion_is_walked_frame_by_frame() {
    // The harness has some 30 frames, and more where std is not optimised.
    for depth in [1, 10, 60, 75] {
        let mut stacks = None;
        recurse(depth, &mut || stacks = Some(both()));
        assert_same_stack(&stacks.unwrap());
    }
}

#[test]
fn repeated_walks_from_changing_leaves_stay_right() {
    for depth in (1..80).chain((20..70).rev()).chain([3, 70, 3, 70]) {
        let mut stacks = None;
        recurse(depth, &mut || stacks = Some(both()));
        assert_same_stack(&stacks.unwrap());
    }
}

#[test]
fn a_cut_stack_says_so() {
    let memory = ThreadMemory::new();
    let mut out = [0_u64; 16];
    recurse(50, &mut || {
        let captured = capture(&Registers::here(), &memory, &mut out, &(0..0));
        assert_eq!(captured.depth, 16);
        assert_eq!(captured.end, StackEnd::Truncated);
    });
    assert_eq!(out[15], 3);
    assert!(out[..15].iter().all(|&pc| pc > 4096));
}
