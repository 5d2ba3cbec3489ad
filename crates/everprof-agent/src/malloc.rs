//! The C allocation functions, as the program sees them.
//!
//! Context: hot; each `#[cold]` half is sampled. No panic, no lock, no
//! allocation of our own.
//! Invariant: every object stands where the displaced function put it, so
//! alignment and `malloc_usable_size` are the displaced allocator's, and an
//! object that a library frees behind our back is still a good object.
//!
//! ```text
//! allocate   count bytes ──not due──→ displaced function
//!                 └due→ sample (stack, weight) → displaced function → commit its address
//! free       filter ──surely not sampled──→ displaced function
//!                 └maybe→ take it off the books → displaced function
//! ```
//!
//! An object leaves the books before its memory is given back: afterwards
//! another thread may get the same address. `realloc` counts as the free of
//! the old size and the allocation of the new one.
//!
//! A size beyond `isize::MAX` can only be refused, by every allocator: no
//! object is that large. Such a request goes to the displaced function as it
//! is, uncounted. The countdown is signed, and would take the size for a
//! negative one: it would grow, and this thread go unrecorded for as long.

use std::ffi::{c_int, c_void};

use everprof_core::global;
use everprof_core::stack::Registers;

use crate::errno::Errno;
use crate::{real, start};

/// C's `malloc`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    if is_due(size) {
        // SAFETY: the same call.
        return unsafe { malloc_due(size) };
    }
    // SAFETY: the caller keeps `malloc`'s contract.
    unsafe { real::malloc(size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn malloc_due(size: usize) -> *mut c_void {
    // SAFETY: any size may be asked for.
    sampled(size, &Registers::here(), || unsafe { real::malloc(size) })
}

/// C's `calloc`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // A product that overflows is refused by the displaced function, too.
    if count.checked_mul(size).is_none_or(is_due) {
        // SAFETY: the same call.
        return unsafe { calloc_due(count, size) };
    }
    // SAFETY: the caller keeps `calloc`'s contract.
    unsafe { real::calloc(count, size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn calloc_due(count: usize, size: usize) -> *mut c_void {
    // SAFETY: any pair may be asked for.
    let allocate = || unsafe { real::calloc(count, size) };
    match count.checked_mul(size) {
        Some(bytes) => sampled(bytes, &Registers::here(), allocate),
        None => allocate(),
    }
}

/// C's `realloc`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(object: *mut c_void, size: usize) -> *mut c_void {
    let due = is_due(size);
    if due || global::allocations().may_be_wanted(object as usize) {
        // SAFETY: the same call.
        return unsafe { realloc_slow(object, size, due) };
    }
    // SAFETY: the caller keeps `realloc`'s contract.
    unsafe { real::realloc(object, size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn realloc_slow(object: *mut c_void, size: usize, due: bool) -> *mut c_void {
    if can_only_fail(size) || !start::is_recording() {
        // SAFETY: the caller keeps `realloc`'s contract.
        return unsafe { real::realloc(object, size) };
    }
    let errno = Errno::now();
    let registers = Registers::here();
    let wanted = if due {
        global::allocations().allocating(size, &registers)
    } else {
        None
    };
    let going = if object.is_null() {
        None
    } else {
        global::allocations().freeing_unmarked(object as usize)
    };
    errno.restore();
    // SAFETY: the caller keeps `realloc`'s contract.
    let moved = unsafe { real::realloc(object, size) };
    let errno = Errno::now();
    if moved.is_null() {
        // glibc's `realloc(p, 0)` frees `p` and returns null; any other null is
        // a failure that leaves the old object alone.
        match going {
            Some(going) if size != 0 => going.restore(),
            gone => drop(gone),
        }
    } else if let Some(wanted) = wanted {
        wanted.commit_moved_unmarked(object as usize, going, moved as usize);
    } else {
        drop(going);
    }
    errno.restore();
    moved
}

/// C's `reallocarray`: `realloc` with a checked product.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(
    object: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller keeps `realloc`'s contract.
        Some(bytes) => unsafe { realloc(object, bytes) },
        None => {
            Errno::set(libc::ENOMEM);
            std::ptr::null_mut()
        }
    }
}

/// C's `free`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(object: *mut c_void) {
    if global::allocations().may_be_wanted(object as usize) {
        // SAFETY: the same call.
        return unsafe { free_slow(object) };
    }
    // SAFETY: the caller keeps `free`'s contract.
    unsafe { real::free(object) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn free_slow(object: *mut c_void) {
    if start::is_recording() && !object.is_null() {
        let errno = Errno::now();
        // Dropping what goes is its free.
        drop(global::allocations().freeing_unmarked(object as usize));
        errno.restore();
    }
    // SAFETY: the caller keeps `free`'s contract.
    unsafe { real::free(object) }
}

/// The old name of `free`, which old binaries still reach in glibc.
///
/// # Safety
/// As `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cfree(object: *mut c_void) {
    // SAFETY: the same contract.
    unsafe { free(object) }
}

/// C23's `free_sized`. A C library that has it frees in it without calling `free`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(object: *mut c_void, _size: usize) {
    // SAFETY: every object of this family may be given to `free`.
    unsafe { free(object) }
}

/// C23's `free_aligned_sized`; see [`free_sized`].
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(object: *mut c_void, _align: usize, _size: usize) {
    // SAFETY: every object of this family may be given to `free`.
    unsafe { free(object) }
}

/// POSIX's `posix_memalign`.
///
/// # Safety
/// As POSIX's: `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if is_due(size) {
        // SAFETY: the same call.
        return unsafe { posix_memalign_due(out, align, size) };
    }
    // SAFETY: the caller keeps the contract.
    unsafe { real::posix_memalign(out, align, size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn posix_memalign_due(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    let mut status = libc::ENOMEM;
    sampled(size, &Registers::here(), || {
        // SAFETY: the caller keeps the contract.
        status = unsafe { real::posix_memalign(out, align, size) };
        if status == 0 {
            // SAFETY: success means that `out` was written.
            unsafe { *out }
        } else {
            std::ptr::null_mut()
        }
    });
    status
}

/// C's `aligned_alloc`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if is_due(size) {
        // SAFETY: the same call.
        return unsafe { aligned_alloc_due(align, size) };
    }
    // SAFETY: the caller keeps the contract.
    unsafe { real::aligned_alloc(align, size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn aligned_alloc_due(align: usize, size: usize) -> *mut c_void {
    // SAFETY: the caller keeps the contract.
    sampled(size, &Registers::here(), || unsafe {
        real::aligned_alloc(align, size)
    })
}

/// The older `memalign`.
///
/// # Safety
/// As C's `aligned_alloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    if is_due(size) {
        // SAFETY: the same call.
        return unsafe { memalign_due(align, size) };
    }
    // SAFETY: the caller keeps the contract.
    unsafe { real::memalign(align, size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn memalign_due(align: usize, size: usize) -> *mut c_void {
    // SAFETY: the caller keeps the contract.
    sampled(size, &Registers::here(), || unsafe {
        real::memalign(align, size)
    })
}

/// `valloc`: page-aligned.
///
/// # Safety
/// As C's `malloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn valloc(size: usize) -> *mut c_void {
    if is_due(size) {
        // SAFETY: the same call.
        return unsafe { valloc_due(size) };
    }
    // SAFETY: any size may be asked for.
    unsafe { real::valloc(size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn valloc_due(size: usize) -> *mut c_void {
    // SAFETY: any size may be asked for.
    sampled(size, &Registers::here(), || unsafe { real::valloc(size) })
}

/// `pvalloc`: page-aligned, whole pages. Recorded with the size asked for.
///
/// # Safety
/// As C's `malloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvalloc(size: usize) -> *mut c_void {
    if is_due(size) {
        // SAFETY: the same call.
        return unsafe { pvalloc_due(size) };
    }
    // SAFETY: any size may be asked for.
    unsafe { real::pvalloc(size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn pvalloc_due(size: usize) -> *mut c_void {
    // SAFETY: any size may be asked for.
    sampled(size, &Registers::here(), || unsafe { real::pvalloc(size) })
}

/// `malloc_usable_size`: how much an object really holds.
///
/// # Safety
/// `object` is null or came from this family and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(object: *mut c_void) -> usize {
    // SAFETY: the caller's promise. No object is ever shifted (module head).
    unsafe { real::malloc_usable_size(object) }
}

/// Counts a request; true when the cold half has to see it.
#[inline(always)]
fn is_due(size: usize) -> bool {
    can_only_fail(size) || global::tick(size)
}

/// Larger than any object can be (module head).
#[inline(always)]
fn can_only_fail(size: usize) -> bool {
    size > isize::MAX as usize
}

/// Allocates, and records it when the sampler says so.
#[inline(always)]
fn sampled(
    size: usize,
    registers: &Registers,
    allocate: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    if can_only_fail(size) {
        return allocate();
    }
    if !start::is_recording() {
        start::stay_dormant();
        return allocate();
    }
    let errno = Errno::now();
    let wanted = global::allocations().allocating(size, registers);
    errno.restore();
    let object = allocate();
    if let Some(wanted) = wanted
        && !object.is_null()
    {
        let errno = Errno::now();
        wanted.commit_unmarked(object as usize);
        errno.restore();
    }
    object
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::multiple_unsafe_ops_per_block)]
    use super::*;
    use everprof_core::local;
    use std::ptr;

    // These run dormant: what is recorded is seen from outside, by running
    // programs under the command line.

    #[test]
    fn a_success_leaves_errno_alone() {
        Errno::set(libc::ENOENT);
        // SAFETY: each object is freed once.
        unsafe {
            let object = malloc(100);
            let object = realloc(object, 200);
            free(object);
            free(calloc(3, 5));
            free(ptr::null_mut());
        }
        assert_eq!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::ENOENT)
        );
    }

    #[test]
    fn products_that_overflow_are_refused_and_keep_the_old_object() {
        // SAFETY: the object stays valid when reallocarray fails.
        unsafe {
            let object = malloc(16);
            object.cast::<u8>().write(3);
            assert!(reallocarray(object, usize::MAX, 2).is_null());
            assert_eq!(
                std::io::Error::last_os_error().raw_os_error(),
                Some(libc::ENOMEM)
            );
            assert!(calloc(usize::MAX, 2).is_null());
            assert_eq!(*object.cast::<u8>(), 3);
            free(object);
        }
    }

    /// The least and the greatest size that no allocator can serve, and one between.
    const IMPOSSIBLE: [usize; 3] = [isize::MAX as usize + 1, usize::MAX / 4 * 3, usize::MAX];

    #[test]
    fn requests_that_can_only_fail_leave_the_countdown_alone() {
        for size in IMPOSSIBLE {
            // SAFETY: no object comes of it but the first, which is freed once.
            unsafe {
                let object = malloc(16);
                local::with(|local| local.countdown.set(1000));
                let mut out = object;
                for null in [
                    malloc(size),
                    calloc(1, size),
                    calloc(size, 2),
                    realloc(object, size),
                    realloc(ptr::null_mut(), size),
                    reallocarray(object, 1, size),
                    aligned_alloc(64, size),
                    memalign(64, size),
                    valloc(size),
                    pvalloc(size),
                ] {
                    assert!(null.is_null(), "{size:#x}");
                }
                assert_eq!(posix_memalign(&raw mut out, 64, size), libc::ENOMEM);
                assert_eq!(out, object);
                local::with(|local| assert_eq!(local.countdown.get(), 1000, "{size:#x}"));
                free(object);
            }
        }
    }

    #[test]
    fn alignments_and_usable_sizes_are_the_displaced_allocators() {
        // SAFETY: each object is used within its size and freed once.
        unsafe {
            let mut out = ptr::null_mut();
            assert_eq!(posix_memalign(&raw mut out, 4096, 10), 0);
            assert_eq!(out as usize % 4096, 0);
            assert!(malloc_usable_size(out) >= 10);
            free(out);
            assert_eq!(posix_memalign(&raw mut out, 3, 10), libc::EINVAL);
            for object in [
                aligned_alloc(64, 128),
                memalign(128, 1),
                valloc(1),
                pvalloc(1),
            ] {
                assert!(!object.is_null());
                assert_eq!(object as usize % 64, 0);
                cfree(object);
            }
            free_sized(malloc(8), 8);
            free_aligned_sized(aligned_alloc(32, 32), 32, 32);
            assert_eq!(malloc_usable_size(ptr::null_mut()), 0);
        }
    }
}
