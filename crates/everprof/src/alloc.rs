//! The global allocator: counts what a program allocates, forwards the rest.
//!
//! Context: hot in the four methods of [`GlobalAlloc`]; the functions marked
//! `#[cold]` are `sampled`. No global allocator, no lock, no panic.
//!
//! `alloc` subtracts the size from the thread's countdown. Nothing else happens until
//! that runs out. `dealloc` tests one bit of the address, which is set in every sampled
//! object and in few others (`mark`). What is done with a sample, the process's recorders
//! decide (`recorder`). Objects that move have a file of their own (`realloc`).
//!
//! **Invariants.**
//! - The inner allocator gets back the layout it was asked for: of a sampled
//!   object that is (size + mark, align), shifted or not; of every other object
//!   its own.
//! - An object is taken out of the store *before* its block goes back to the
//!   inner allocator: another thread may get the same address at once.
//! - The cold functions are `extern "C"`: they cannot unwind, so the fast path
//!   needs no landing pad and no frame of its own. They take the inner allocator
//!   last, so that the arguments of the hot functions stay in their registers.
//!
//! Source: the sampling is that of Go's runtime/mprof.go and of tcmalloc.

use std::alloc::{GlobalAlloc, Layout, System};

mod mark;
mod realloc;
mod recorder;

use mark::{align_of_marks, distance, mark, marks, may_be_marked, must_shift, sampled_layout};
use realloc::realloc_marked;
use recorder::{Heap, Recorder};

/// A global allocator that shows where a program's memory is.
///
/// Hands every request to the allocator inside it and records one in a while:
/// on the average one in each [period](crate::heap::set_period) of bytes. The
/// result is the profiles `heap` and `allocs`.
///
/// ```
/// #[global_allocator]
/// static ALLOC: everprof::Alloc = everprof::Alloc::system();
///
/// fn main() {
///     let names: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
///     assert_eq!(names.len(), 1000);
/// }
/// ```
///
/// # Overhead
///
/// An allocation and its free that are not sampled gain one store (the
/// countdown) and two branches, no load. Over `System` that is five instructions where
/// the compiler knows the layout. Where it does not, some of `System`'s own are saved, and
/// two or three remain
/// (x86_64; counted by `cargo xtask fast-path`, timed by the bench `hot`). Every second object of
/// align 16 or more is looked up in a filter when it is freed: eleven more. A
/// sampled object takes 8 bytes more of the inner allocator, or its alignment
/// where that is greater.
///
/// Objects of up to 128 bytes that a thread makes while it panics are not recorded: one of them is
/// what the panic throws, which must not be moved.
#[derive(Debug, Default)]
pub struct Alloc<A = System> {
    inner: A,
}

impl Alloc<System> {
    /// Over the allocator of the platform's C library.
    #[must_use]
    pub const fn system() -> Self {
        Self::new(System)
    }
}

impl<A> Alloc<A> {
    /// Over any allocator. It must not unwind, as [`GlobalAlloc`] says: a panic in it ends the
    /// process where an allocation is sampled or asks for more than `malloc` gives.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        Self { inner }
    }

    /// The allocator inside.
    pub const fn inner(&self) -> &A {
        &self.inner
    }
}

// SAFETY: every block comes from `A` and goes back to it with the layout it was
// asked for (invariant at the module head); an object lies within its block and
// keeps its alignment. Nothing here unwinds unless `A` does, which may not.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Alloc<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { self.allocate::<Heap>(layout, false) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { self.allocate::<Heap>(layout, true) }
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are handed on.
        unsafe { self.free::<Heap>(object, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        unsafe { self.reallocate::<Heap>(object, layout, new_size) }
    }
}

/// The hot paths, for any recorder.
impl<A: GlobalAlloc> Alloc<A> {
    #[inline(always)]
    unsafe fn allocate<R: Recorder>(&self, layout: Layout, zeroed: bool) -> *mut u8 {
        if R::tick(layout.size()) {
            // SAFETY: the caller's promise about `layout` is handed on.
            return unsafe {
                alloc_due::<A, R>(layout.size(), layout.align(), zeroed, &self.inner)
            };
        }
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { ask_in_parts(&self.inner, layout, zeroed) }
    }

    #[inline(always)]
    unsafe fn free<R: Recorder>(&self, object: *mut u8, layout: Layout) {
        let marks = marks(layout.align());
        if object.addr() & marks != 0 {
            // SAFETY: the caller's promise that `object` came from here with
            // `layout` is handed on; `marks` tells its alignment.
            return unsafe { dealloc_marked::<A, R>(object, layout.size(), marks, &self.inner) };
        }
        // SAFETY: an unmarked address is not a sampled object's (head of `mark`),
        // so the inner allocator gave it out for this very layout.
        unsafe { self.inner.dealloc(object, layout) }
    }

    #[inline(always)]
    unsafe fn reallocate<R: Recorder>(
        &self,
        object: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> *mut u8 {
        // To the profile a realloc is a free and an allocation of the full new
        // size, as if it had been written so.
        let due = R::tick(new_size);
        if due || may_be_marked(object, layout.align()) {
            let (size, align) = (layout.size(), layout.align());
            // SAFETY: the caller's promises are handed on.
            return unsafe {
                realloc_marked::<A, R>(object, size, align, new_size, due, &self.inner)
            };
        }
        // SAFETY: as in `free`.
        unsafe { self.inner.realloc(object, layout, new_size) }
    }
}

/// Asks the inner allocator.
///
/// # Safety
///
/// As [`GlobalAlloc::alloc`].
#[inline(always)]
unsafe fn ask<A: GlobalAlloc>(inner: &A, layout: Layout, zeroed: bool) -> *mut u8 {
    if zeroed {
        // SAFETY: the caller's promise.
        unsafe { inner.alloc_zeroed(layout) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { inner.alloc(layout) }
    }
}

/// As [`ask`], for the fast path: sorts out the layouts that `malloc` does not serve.
///
/// `System` and jemalloc have to ask whether `malloc` will do. They make one condition of two
/// comparisons, which compiles to six instructions. Here each comparison has a branch of its
/// own to a cold call. Behind them the compiler knows the answer and removes the inner
/// allocator's question, which takes four instructions off what everprof adds to a pair.
///
/// An inner allocator that asks nothing of the kind gets the same call three times; inlined
/// they are one, and the branches go. So the cold calls must be `#[cold]`, but not
/// `inline(never)`. Where the layout is known, nothing of all this is left.
///
/// # Safety
///
/// As [`GlobalAlloc::alloc`].
#[inline(always)]
unsafe fn ask_in_parts<A: GlobalAlloc>(inner: &A, layout: Layout, zeroed: bool) -> *mut u8 {
    if layout.size() < layout.align() {
        // SAFETY: the caller's promise.
        return unsafe { ask_aside(layout.size(), layout.align(), zeroed, inner) };
    }
    if layout.align() > MALLOC_ALIGN {
        // SAFETY: the caller's promise.
        return unsafe { ask_aligned(layout.size(), layout.align(), zeroed, inner) };
    }
    // SAFETY: the caller's promise.
    unsafe { ask(inner, layout, zeroed) }
}

/// What C's `malloc` aligns to: two words.
const MALLOC_ALIGN: usize = 2 * size_of::<usize>();

/// As [`ask`], away from the fast path.
///
/// # Safety
///
/// As [`GlobalAlloc::alloc`], for a layout of `size` and `align`.
#[cold]
unsafe extern "C" fn ask_aside<A: GlobalAlloc>(
    size: usize,
    align: usize,
    zeroed: bool,
    inner: &A,
) -> *mut u8 {
    // SAFETY: `size` and `align` came out of a layout.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller's promise.
    unsafe { ask(inner, layout, zeroed) }
}

/// The same under another name. Of two branches to one call the compiler would make one
/// branch on both conditions again.
///
/// # Safety
///
/// As [`ask_aside`].
#[cold]
unsafe extern "C" fn ask_aligned<A: GlobalAlloc>(
    size: usize,
    align: usize,
    zeroed: bool,
    inner: &A,
) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { ask_aside(size, align, zeroed, inner) }
}

/// An allocation whose sample is due, sampled or not.
///
/// # Safety
///
/// As [`GlobalAlloc::alloc`], for a layout of `size` and `align`.
#[cold]
#[inline(never)]
unsafe extern "C" fn alloc_due<A: GlobalAlloc, R: Recorder>(
    size: usize,
    align: usize,
    zeroed: bool,
    inner: &A,
) -> *mut u8 {
    let ticket = R::sample(size);
    // Asked after the sampler has decided: a ticket that is dropped here records nothing, and
    // which of the other objects are sampled stays as it was.
    let ticket = ticket.filter(|_| !may_be_exception(size, align));
    let (Some(ticket), Some(layout)) = (ticket, sampled_layout(size, align)) else {
        // SAFETY: `size` and `align` came out of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // SAFETY: the caller's own layout.
        return unsafe { ask(inner, layout, zeroed) };
    };
    // SAFETY: the caller's layout, or more bytes of the same align.
    let base = unsafe { ask(inner, layout, zeroed) };
    if base.is_null() {
        return base;
    }
    let shifted = must_shift(base, align);
    // SAFETY: the block is `mark` bytes larger than the object.
    let object = unsafe { base.add(distance(shifted, align)) };
    R::commit(ticket, object.addr(), shifted);
    object
}

/// Whether this may be what a panic throws, which must stand where the inner allocator puts it.
///
/// std makes it with align 8 and hands it to the unwinder. To that it is C's `_Unwind_Exception`,
/// which `malloc` would have aligned to 16. LLVM's unwinder, which static programs have, stores
/// 16 bytes into it at once: at an odd multiple of 8 that is a fault.
#[inline(always)]
fn may_be_exception(size: usize, align: usize) -> bool {
    size <= EXCEPTION_BYTES && align <= align_of::<usize>() && std::thread::panicking()
}

/// Seven words on x86_64 and aarch64 (std's panic_unwind/src/gcc.rs), eleven at the most elsewhere,
/// and room for what it may yet become.
const EXCEPTION_BYTES: usize = 16 * size_of::<usize>();

/// A free of an object whose address does not rule out that it was sampled.
///
/// # Safety
///
/// As [`GlobalAlloc::dealloc`], for a layout of `size` and the alignment of `marks`.
#[cold]
#[inline(never)]
unsafe extern "C" fn dealloc_marked<A: GlobalAlloc, R: Recorder>(
    object: *mut u8,
    size: usize,
    marks: usize,
    inner: &A,
) {
    if R::may_be_sampled(object.addr()) {
        // SAFETY: the caller's promises are handed on.
        unsafe { dealloc_perhaps_sampled::<A, R>(object, size, marks, inner) }
    } else {
        let align = align_of_marks(marks);
        // SAFETY: `size` and `align` came out of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // SAFETY: not sampled, so the inner allocator gave it out for this layout.
        unsafe { inner.dealloc(object, layout) }
    }
}

/// A free that the filter let through. Apart from [`dealloc_marked`], so that
/// the many objects of align 16 that were not sampled pay for no stack frame.
///
/// # Safety
///
/// As [`GlobalAlloc::dealloc`], for a layout of `size` and the alignment of `marks`.
#[cold]
#[inline(never)]
unsafe extern "C" fn dealloc_perhaps_sampled<A: GlobalAlloc, R: Recorder>(
    object: *mut u8,
    size: usize,
    marks: usize,
    inner: &A,
) {
    let align = align_of_marks(marks);
    let (base, layout) = match R::take(object.addr()) {
        Some(taken) => {
            let shift = distance(R::shifted(&taken), align);
            R::free(taken);
            // SAFETY: a sampled object stands `shift` bytes into its block.
            (
                unsafe { object.sub(shift) },
                was_sampled_layout(size, align),
            )
        }
        // SAFETY: `size` and `align` came out of a layout.
        None => (object, unsafe {
            Layout::from_size_align_unchecked(size, align)
        }),
    };
    // SAFETY: that is the block and the layout it was asked for.
    unsafe { inner.dealloc(base, layout) }
}

/// The layout of the block that holds an object known to be sampled.
#[inline(always)]
fn was_sampled_layout(size: usize, align: usize) -> Layout {
    // SAFETY: `alloc_due` or `realloc_marked` made this layout with the checks
    // of `sampled_layout` before it committed the sample.
    unsafe { Layout::from_size_align_unchecked(size + mark(align), align) }
}

#[cfg(test)]
mod tests;
