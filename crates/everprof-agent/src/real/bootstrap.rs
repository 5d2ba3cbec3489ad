//! Memory for requests that come while the loader is asked for the real functions.
//!
//! Context: sampled; one fetch_add. Invariant: handed out once, zero, never
//! taken back. Each object's size stands in the word before it.
//! Source: every preloaded allocator needs one; `dlsym` of some C libraries
//! calls `calloc` for its error buffer (at most a few hundred bytes).

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What every object is aligned to at least.
pub(super) const ALIGN: usize = 16;

/// 4 KiB were never reached with glibc 2.36; the rest is for other loaders.
const CAPACITY: usize = 16 * 1024;

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[u8; CAPACITY]>);

// SAFETY: `NEXT` hands out each byte once; nobody else touches it.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; CAPACITY]));

/// Bytes handed out. Written by `allocate`.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A zeroed object, or null when the room is used up.
#[cold]
#[inline(never)]
pub(super) fn allocate(align: usize, size: usize) -> *mut c_void {
    // The head keeps the size; `align` more bytes leave room to round up.
    let align = align.max(ALIGN);
    let Some(wanted) = size
        .checked_add(2 * align)
        .filter(|wanted| *wanted <= CAPACITY)
    else {
        return ptr::null_mut();
    };
    // Relaxed: the bytes are owned by who got their numbers; nothing is published.
    let start = NEXT.fetch_add(wanted, Ordering::Relaxed);
    if start > CAPACITY - wanted {
        return ptr::null_mut();
    }
    let base = MEMORY.0.get().cast::<u8>();
    let offset =
        (base as usize + start + size_of::<usize>()).next_multiple_of(align) - base as usize;
    // SAFETY: offset + size ≤ start + 8 + align + size ≤ start + wanted ≤ CAPACITY.
    let object = unsafe { base.add(offset) };
    // SAFETY: the word before it lies at start or later.
    let head = unsafe { object.cast::<usize>().sub(1) };
    // SAFETY: ours alone, and aligned as the object is.
    unsafe { head.write(size) };
    object.cast()
}

/// Whether `object` was handed out here.
#[inline(always)]
pub(super) fn owns(object: *mut c_void) -> bool {
    (object as usize).wrapping_sub(MEMORY.0.get() as usize) < CAPACITY
}

/// The size that was asked for.
///
/// # Safety
/// `owns(object)`.
pub(super) unsafe fn requested_size(object: *mut c_void) -> usize {
    // SAFETY: `allocate` left a word before each object.
    let head = unsafe { object.cast::<usize>().sub(1) };
    // SAFETY: it wrote the size there before it returned the object.
    unsafe { head.read() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::multiple_unsafe_ops_per_block)]
    use super::*;

    #[test]
    fn objects_are_aligned_zero_and_apart() {
        let first = allocate(ALIGN, 40);
        let second = allocate(256, 1);
        assert_eq!(first as usize % ALIGN, 0);
        assert_eq!(second as usize % 256, 0);
        assert!(owns(first) && owns(second));
        // SAFETY: both are owned and hold the bytes asked for.
        unsafe {
            assert_eq!(requested_size(first), 40);
            assert_eq!(requested_size(second), 1);
            assert!((0..40).all(|i| *first.cast::<u8>().add(i) == 0));
        }
        assert!(second as usize >= first as usize + 40 || first as usize > second as usize);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_takes_nothing() {
        let before = NEXT.load(Ordering::Relaxed);
        assert!(allocate(ALIGN, CAPACITY).is_null());
        assert!(allocate(ALIGN, usize::MAX).is_null());
        assert!(NEXT.load(Ordering::Relaxed) - before < CAPACITY);
        assert!(!owns(ptr::null_mut()));
    }
}
