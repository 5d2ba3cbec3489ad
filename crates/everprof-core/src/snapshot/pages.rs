//! Pages: an array of plain values in a mapping of its own.
//!
//! Context: cold. Invariant: `count` values fit into the mapping, and each is
//! zeroed or written. A snapshot must not ask the global allocator: what it copies
//! is that allocator's profile.

use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;

use crate::sys;

/// Zeroed memory straight from the system, as an array.
pub(super) struct Pages<T> {
    base: Option<NonNull<u8>>,
    bytes: usize,
    count: usize,
    of: PhantomData<T>,
}

// SAFETY: owned memory that holds plain integers.
unsafe impl<T: Send> Send for Pages<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Pages<T> {}

/// Arrays that zeroed memory is a valid state of.
///
/// # Safety
/// All bits zero is a valid value, the alignment is at most 64, no `Drop`.
pub(super) unsafe trait Zeroed: Copy {}
// SAFETY: an integer.
unsafe impl Zeroed for u32 {}

impl<T> Pages<T> {
    pub(super) fn new(count: usize) -> Self {
        let bytes = count.saturating_mul(mem::size_of::<T>());
        let base = if bytes == 0 {
            None
        } else {
            sys::map_private(bytes)
        };
        let count = if base.is_some() { count } else { 0 };
        Self {
            base,
            bytes,
            count,
            of: PhantomData,
        }
    }
}

impl<T: Zeroed> Pages<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        // SAFETY: `count` values fit into the mapping, zeroed or written since.
        self.base.map_or(&[], |base| unsafe {
            std::slice::from_raw_parts(base.as_ptr().cast(), self.count)
        })
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        match self.base {
            // SAFETY: as above; `self` owns the mapping.
            Some(base) => unsafe {
                std::slice::from_raw_parts_mut(base.as_ptr().cast(), self.count)
            },
            None => &mut [],
        }
    }
}

impl<T> Drop for Pages<T> {
    fn drop(&mut self) {
        if let Some(base) = self.base {
            // SAFETY: the whole mapping made in `new`; slices borrow from `self`.
            unsafe { sys::unmap(base, self.bytes) };
        }
    }
}
