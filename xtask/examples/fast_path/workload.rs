// What both programs of `cargo xtask fast-path` do, included into each.
//
// Layouts are constants, as they are where a program allocates a `Box` or a
// `Vec`'s first block: the test of the alignment then folds away, or does not,
// as it does there.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::hint::black_box;

/// Does what the first argument names, as often as the second says.
fn run() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, case, pairs] = arguments.as_slice() else {
        panic!("expected a case and a number of pairs");
    };
    let pairs: u64 = pairs.parse().expect("a number of pairs");
    match case.as_str() {
        "even16" => settle(false),
        "odd16" => settle(true),
        _ => {}
    }
    let case: fn() = match case.as_str() {
        "align8" => pair::<8>,
        "unknown" => unknown,
        "even16" | "odd16" => pair::<16>,
        "zeroed" => zeroed,
        "grow" => grow,
        _ => panic!("no case is called `{case}`"),
    };
    // Through a pointer, so that the loop is the same code in both programs.
    let case = black_box(case);
    for _ in 0..pairs {
        case();
    }
}

#[inline(never)]
fn pair<const ALIGN: usize>() {
    let layout = const { layout(64, ALIGN) };
    // SAFETY: the layout's size is not 0.
    let object = black_box(unsafe { alloc(layout) });
    // SAFETY: allocated just above, with this layout; the C library's free
    // takes a null.
    unsafe { dealloc(object, layout) };
}

/// As a crate does that was compiled before the allocator was chosen.
#[inline(never)]
fn unknown() {
    let layout = black_box(const { layout(64, 8) });
    // SAFETY: the layout's size is not 0.
    let object = black_box(unsafe { alloc(layout) });
    // SAFETY: allocated just above, with this layout.
    unsafe { dealloc(object, layout) };
}

/// Makes the C library give out an even or an odd multiple of 16 from now on:
/// what was freed last is given out next.
fn settle(odd: bool) {
    let layout = const { layout(64, 16) };
    loop {
        // SAFETY: the layout's size is not 0.
        let object = black_box(unsafe { alloc(layout) });
        if (object.addr() & 16 != 0) == odd {
            // SAFETY: allocated just above, with this layout.
            return unsafe { dealloc(object, layout) };
        }
        // The others stay allocated, or they would be given out again.
    }
}

#[inline(never)]
fn zeroed() {
    let layout = const { layout(64, 8) };
    // SAFETY: the layout's size is not 0.
    let object = black_box(unsafe { alloc_zeroed(layout) });
    // SAFETY: allocated just above, with this layout.
    unsafe { dealloc(object, layout) };
}

#[inline(never)]
fn grow() {
    let (small, large) = const { (layout(64, 8), layout(96, 8)) };
    // SAFETY: the layout's size is not 0.
    let object = black_box(unsafe { alloc(small) });
    // SAFETY: allocated just above, with this layout; the new size is not 0.
    let object = black_box(unsafe { realloc(object, small, large.size()) });
    // SAFETY: reallocated just above to the size of this layout.
    unsafe { dealloc(object, large) };
}

const fn layout(size: usize, align: usize) -> Layout {
    match Layout::from_size_align(size, align) {
        Ok(layout) => layout,
        Err(_) => panic!("size and align are constants that fit"),
    }
}
