//! Realloc: what becomes of a sampled object that moves, or of one that is sampled as it does.
//!
//! Context: sampled. Invariant: an object is taken out of the store before the inner allocator
//! may give its address to somebody else, and put back where that refuses and the object stays.
//!
//! | old | new | what happens |
//! |---|---|---|
//! | not sampled | not sampled | inner realloc |
//! | not sampled | sampled | inner realloc to size + mark, the bytes move up where the mark wants it |
//! | sampled | sampled | inner realloc to size + mark, the bytes move where the shift changed |
//! | sampled | not sampled | a fresh block, copied |
//!
//! The inner allocator's own realloc keeps its ways of growing (`mremap`) in
//! all cases but the last, which is rare: an object that is large enough for it
//! to matter is sampled again with near certainty.

use std::alloc::{GlobalAlloc, Layout};

use super::mark::{distance, may_be_marked, must_shift, sampled_layout};
use super::recorder::Recorder;
use super::was_sampled_layout;

/// A realloc whose sample is due, or of an object that may be sampled: see the module head.
///
/// # Safety
///
/// As [`GlobalAlloc::realloc`], for a layout of `size` and `align`.
#[cold]
#[inline(never)]
pub(super) unsafe extern "C" fn realloc_marked<A: GlobalAlloc, R: Recorder>(
    object: *mut u8,
    size: usize,
    align: usize,
    new_size: usize,
    due: bool,
    inner: &A,
) -> *mut u8 {
    // SAFETY: `size` and `align` came out of a layout.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    let ticket = if due { R::sample(new_size) } else { None };
    let new = ticket.zip(sampled_layout(new_size, align));
    let marked = may_be_marked(object, align) && R::may_be_sampled(object.addr());
    let taken = if marked { R::take(object.addr()) } else { None };

    let (base, shift, layout) = match &taken {
        Some(taken) => {
            let shift = distance(R::shifted(taken), align);
            // SAFETY: a sampled object stands `shift` bytes into its block.
            (
                unsafe { object.sub(shift) },
                shift,
                was_sampled_layout(size, align),
            )
        }
        None => (object, 0, layout),
    };

    let Some((ticket, new_layout)) = new else {
        let object = if taken.is_some() {
            // SAFETY: the block is the one found above; `new_size` is the caller's.
            unsafe { move_out(inner, base, shift, layout, size, new_size) }
        } else {
            // SAFETY: as above.
            unsafe { inner.realloc(base, layout, new_size) }
        };
        return settle::<R>(taken, object);
    };

    // SAFETY: the block is the one found above, the size from a valid layout.
    let base = unsafe { inner.realloc(base, layout, new_layout.size()) };
    if base.is_null() {
        return settle::<R>(taken, base);
    }
    let new_shifted = must_shift(base, align);
    let new_shift = distance(new_shifted, align);
    // SAFETY: both blocks are at least `shift` and `new_shift` larger than the
    // object they hold, and the inner realloc kept the first bytes of the old.
    let from = unsafe { base.add(shift) };
    // SAFETY: as above.
    let to = unsafe { base.add(new_shift) };
    if new_shift != shift {
        // SAFETY: as above; `copy` may overlap.
        unsafe { std::ptr::copy(from, to, size.min(new_size)) };
    }
    R::commit_moved(ticket, object.addr(), taken, to.addr(), new_shifted);
    to
}

/// Moves an object out of its shifted block into a fresh, plain one. Null where
/// the inner allocator has none; the old block is then untouched.
///
/// # Safety
///
/// `base` is a block of `A` of `layout`, holding an object of `size` bytes at
/// `shift`; `new_size` is not 0 and makes a valid layout with the same align.
unsafe fn move_out<A: GlobalAlloc>(
    inner: &A,
    base: *mut u8,
    shift: usize,
    layout: Layout,
    size: usize,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: the caller's promise.
    let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
    // SAFETY: `new_size` is not 0, by the caller's promise.
    let fresh = unsafe { inner.alloc(new_layout) };
    if !fresh.is_null() {
        // SAFETY: the object lies within its block, by the caller's promise.
        let from = unsafe { base.add(shift) };
        // SAFETY: both are as long as the lesser size; a fresh block overlaps none.
        unsafe { std::ptr::copy_nonoverlapping(from, fresh, size.min(new_size)) };
        // SAFETY: the caller's promise.
        unsafe { inner.dealloc(base, layout) };
    }
    fresh
}

/// Ends the account of a reallocated object: freed where there is a new one,
/// put back where the inner allocator refused and the old one lives on.
#[inline(always)]
fn settle<R: Recorder>(taken: Option<R::Taken>, new: *mut u8) -> *mut u8 {
    if let Some(taken) = taken {
        if new.is_null() {
            R::restore(taken)
        } else {
            R::free(taken)
        }
    }
    new
}
