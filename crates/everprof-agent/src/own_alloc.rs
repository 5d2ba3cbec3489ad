//! The library's own allocations: straight to the displaced functions.
//!
//! Context: cold. Invariant: what this crate allocates is not counted. The
//! endpoint's thread and the encoders allocate; none of that belongs into the
//! program's profile, so it does not pass the entry points of [`crate::malloc`].

use std::alloc::{GlobalAlloc, Layout};

use crate::real;

/// Allocates from the program's allocator without being recorded.
struct OwnAlloc;

#[global_allocator]
static OWN: OwnAlloc = OwnAlloc;

/// What `malloc` aligns to on every 64-bit Linux (`max_align_t`).
const MALLOC_ALIGN: usize = 16;

// SAFETY: the displaced functions satisfy C's contract of malloc, which is
// stricter than GlobalAlloc's; alignments beyond theirs go to memalign.
unsafe impl GlobalAlloc for OwnAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: any size may be asked for.
            unsafe { real::malloc(layout.size()) }.cast()
        } else {
            // SAFETY: a layout's align is a power of two.
            unsafe { real::memalign(layout.align(), layout.size()) }.cast()
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: any size may be asked for.
            return unsafe { real::calloc(1, layout.size()) }.cast();
        }
        // SAFETY: the caller's contract is `alloc`'s.
        let object = unsafe { self.alloc(layout) };
        if !object.is_null() {
            // SAFETY: `object` is a fresh allocation of `layout.size()` bytes.
            unsafe { object.write_bytes(0, layout.size()) };
        }
        object
    }

    unsafe fn dealloc(&self, object: *mut u8, _: Layout) {
        // SAFETY: the caller hands back what one of these functions returned.
        unsafe { real::free(object.cast()) }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: `object` came from these functions and `new_size` is not 0.
            return unsafe { real::realloc(object.cast(), new_size) }.cast();
        }
        // SAFETY: the caller guarantees that `new_size` with this align is a layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: `new_layout` has a size above 0, by the caller's contract.
        let new_object = unsafe { self.alloc(new_layout) };
        if !new_object.is_null() {
            let kept = layout.size().min(new_size);
            // SAFETY: both objects hold `kept` bytes and the new one is fresh.
            unsafe { new_object.copy_from_nonoverlapping(object, kept) };
            // SAFETY: the old object is the caller's to give up.
            unsafe { self.dealloc(object, layout) };
        }
        new_object
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::multiple_unsafe_ops_per_block)]
    use super::*;

    #[test]
    fn over_aligned_objects_keep_their_align_and_contents_through_realloc() {
        let layout = Layout::from_size_align(100, 256).unwrap();
        // SAFETY: the layout has a size; each pointer is used within it.
        unsafe {
            let object = OWN.alloc_zeroed(layout);
            assert_eq!(object as usize % 256, 0);
            assert!((0..100).all(|i| *object.add(i) == 0));
            object.add(99).write(7);
            let grown = OWN.realloc(object, layout, 10_000);
            assert_eq!(grown as usize % 256, 0);
            assert_eq!(*grown.add(99), 7);
            OWN.dealloc(grown, Layout::from_size_align(10_000, 256).unwrap());
        }
    }

    #[test]
    fn ordinary_objects_go_round() {
        let layout = Layout::new::<[u64; 8]>();
        // SAFETY: as above.
        unsafe {
            let object = OWN.alloc(layout);
            object.write_bytes(9, 64);
            let grown = OWN.realloc(object, layout, 4096);
            assert_eq!(*grown.add(63), 9);
            OWN.dealloc(grown, Layout::array::<u8>(4096).unwrap());
        }
    }
}
