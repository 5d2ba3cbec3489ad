//! What the library displaced: the next definitions in the loader's order.
//!
//! Context: hot. A resolved function costs one load and one predicted branch.
//! Invariant: a slot goes from null to its function once, and stays.
//!
//! `dlsym` may itself allocate, which leads back here before there is an
//! answer. Such requests get memory from [`bootstrap`], which is never given
//! back. The next definition is usually the C library's; where the program is
//! linked to another allocator's shared library, or one is preloaded after
//! us, it is that one's, so this library never mixes two allocators.

mod bootstrap;

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::mem::{size_of, transmute_copy};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use crate::errno::Errno;

type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
type Calloc = unsafe extern "C" fn(usize, usize) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type PosixMemalign = unsafe extern "C" fn(*mut *mut c_void, usize, usize) -> c_int;
type Memalign = unsafe extern "C" fn(usize, usize) -> *mut c_void;
type UsableSize = unsafe extern "C" fn(*mut c_void) -> usize;

static MALLOC: Slot<Malloc> = Slot::new();
static CALLOC: Slot<Calloc> = Slot::new();
static REALLOC: Slot<Realloc> = Slot::new();
static FREE: Slot<Free> = Slot::new();
static POSIX_MEMALIGN: Slot<PosixMemalign> = Slot::new();
static ALIGNED_ALLOC: Slot<Memalign> = Slot::new();
static MEMALIGN: Slot<Memalign> = Slot::new();
static VALLOC: Slot<Malloc> = Slot::new();
static PVALLOC: Slot<Malloc> = Slot::new();
static USABLE_SIZE: Slot<UsableSize> = Slot::new();

/// # Safety
/// As C's `malloc`: none.
#[inline(always)]
pub(crate) unsafe fn malloc(size: usize) -> *mut c_void {
    match MALLOC.get().or_else(|| resolved(&MALLOC)) {
        // SAFETY: the displaced `malloc` takes any size.
        Some(next) => unsafe { next(size) },
        None => bootstrap::allocate(bootstrap::ALIGN, size),
    }
}

/// # Safety
/// As C's `calloc`: none.
#[inline(always)]
pub(crate) unsafe fn calloc(count: usize, size: usize) -> *mut c_void {
    match CALLOC.get().or_else(|| resolved(&CALLOC)) {
        // SAFETY: the displaced `calloc` takes any pair and checks their product.
        Some(next) => unsafe { next(count, size) },
        None => match count.checked_mul(size) {
            // Bootstrap memory has never been used, so it is zero.
            Some(bytes) => bootstrap::allocate(bootstrap::ALIGN, bytes),
            None => out_of_memory(),
        },
    }
}

/// # Safety
/// `object` is null or came from this family and was not freed.
#[inline(always)]
pub(crate) unsafe fn realloc(object: *mut c_void, size: usize) -> *mut c_void {
    if bootstrap::owns(object) {
        // SAFETY: `owns` says that it came from there.
        return unsafe { leave_bootstrap(object, size) };
    }
    match REALLOC.get().or_else(|| resolved(&REALLOC)) {
        // SAFETY: `object` is not bootstrap memory, so the displaced family made it.
        Some(next) => unsafe { next(object, size) },
        None => bootstrap::allocate(bootstrap::ALIGN, size),
    }
}

/// # Safety
/// `object` is null or came from this family and was not freed.
#[inline(always)]
pub(crate) unsafe fn free(object: *mut c_void) {
    if bootstrap::owns(object) {
        return;
    }
    if let Some(next) = FREE.get().or_else(|| resolved(&FREE)) {
        // SAFETY: `object` is not bootstrap memory, so the displaced family made it.
        unsafe { next(object) }
    }
}

/// # Safety
/// `out` may be written.
#[inline(always)]
pub(crate) unsafe fn posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    match POSIX_MEMALIGN.get().or_else(|| resolved(&POSIX_MEMALIGN)) {
        // SAFETY: `out` is the caller's promise; the rest is checked there.
        Some(next) => unsafe { next(out, align, size) },
        None => libc::ENOMEM,
    }
}

/// # Safety
/// As C's `aligned_alloc`.
#[inline(always)]
pub(crate) unsafe fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    match ALIGNED_ALLOC.get().or_else(|| resolved(&ALIGNED_ALLOC)) {
        // SAFETY: the caller keeps `aligned_alloc`'s contract.
        Some(next) => unsafe { next(align, size) },
        // SAFETY: `memalign` accepts every pair that `aligned_alloc` does.
        None => unsafe { memalign(align, size) },
    }
}

/// # Safety
/// As `memalign`.
#[inline(always)]
pub(crate) unsafe fn memalign(align: usize, size: usize) -> *mut c_void {
    match MEMALIGN.get().or_else(|| resolved(&MEMALIGN)) {
        // SAFETY: the caller keeps `memalign`'s contract.
        Some(next) => unsafe { next(align, size) },
        None if align.is_power_of_two() => bootstrap::allocate(align, size),
        None => out_of_memory(),
    }
}

/// # Safety
/// As `valloc`: none.
#[inline(always)]
pub(crate) unsafe fn valloc(size: usize) -> *mut c_void {
    match VALLOC.get().or_else(|| resolved(&VALLOC)) {
        // SAFETY: the displaced `valloc` takes any size.
        Some(next) => unsafe { next(size) },
        None => out_of_memory(),
    }
}

/// # Safety
/// As `pvalloc`: none.
#[inline(always)]
pub(crate) unsafe fn pvalloc(size: usize) -> *mut c_void {
    match PVALLOC.get().or_else(|| resolved(&PVALLOC)) {
        // SAFETY: the displaced `pvalloc` takes any size.
        Some(next) => unsafe { next(size) },
        None => out_of_memory(),
    }
}

/// # Safety
/// `object` is null or came from this family and was not freed.
#[inline(always)]
pub(crate) unsafe fn malloc_usable_size(object: *mut c_void) -> usize {
    if bootstrap::owns(object) {
        // SAFETY: `owns` says that it came from there.
        return unsafe { bootstrap::requested_size(object) };
    }
    match USABLE_SIZE.get().or_else(|| resolved(&USABLE_SIZE)) {
        // SAFETY: `object` is not bootstrap memory, so the displaced family made it.
        Some(next) => unsafe { next(object) },
        None => 0,
    }
}

/// Finds every displaced function now. Afterwards the allocation functions do
/// not call the loader.
pub(crate) fn resolve() {
    let _ = resolved(&MALLOC);
}

/// The next definition of `name` after this library, if there is one.
pub(crate) fn next_definition(name: &CStr) -> *mut c_void {
    // SAFETY: `name` is a C string; RTLD_NEXT is searched from this library's
    // place, as the call is made from its text.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

/// A displaced function, null until it is resolved.
///
/// Written by `resolve_all` only; read everywhere.
pub(crate) struct Slot<F>(AtomicPtr<c_void>, PhantomData<F>);

impl<F: Copy> Slot<F> {
    /// An unresolved slot.
    pub(crate) const fn new() -> Self {
        assert!(
            size_of::<F>() == size_of::<*mut c_void>(),
            "F is a function pointer"
        );
        Self(AtomicPtr::new(ptr::null_mut()), PhantomData)
    }

    /// The function, once it is known.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<F> {
        // Relaxed: the pointer publishes nothing but itself; code is immutable.
        let pointer = self.0.load(Ordering::Relaxed);
        if pointer.is_null() {
            return None;
        }
        // SAFETY: `F` is a function pointer type (asserted in `new`, and `find`'s
        // callers name the symbol whose C type `F` is), and it is not null.
        Some(unsafe { transmute_copy::<*mut c_void, F>(&pointer) })
    }

    /// Looks `names` up in this order and keeps the first that is defined.
    pub(crate) fn find(&self, names: &[&CStr]) {
        let found = names
            .iter()
            .map(|name| next_definition(name))
            .find(|p| !p.is_null());
        // Relaxed: as in `get`.
        self.0
            .store(found.unwrap_or(ptr::null_mut()), Ordering::Relaxed);
    }
}

/// 0: nobody asked yet. 1: a thread is asking the loader. 2: all slots are filled.
static PROGRESS: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const ASKING: u8 = 1;
const KNOWN: u8 = 2;

/// Resolves everything and returns this slot's function. `None` while the
/// loader is being asked (then it is the loader who allocates, or, before
/// `main` has threads, nobody else), or where the C library has no such function.
#[cold]
#[inline(never)]
fn resolved<F: Copy>(slot: &Slot<F>) -> Option<F> {
    // Acquire: pairs with the Release below, so that KNOWN means filled slots.
    if PROGRESS
        .compare_exchange(UNKNOWN, ASKING, Ordering::Acquire, Ordering::Acquire)
        .is_ok()
    {
        let errno = Errno::now();
        resolve_all();
        // Release: publishes the slots. Pairs with the Acquire above.
        PROGRESS.store(KNOWN, Ordering::Release);
        errno.restore();
    }
    slot.get()
}

/// The `__libc_` names serve where a library between us and the C library
/// hides the plain ones.
fn resolve_all() {
    MALLOC.find(&[c"malloc", c"__libc_malloc"]);
    FREE.find(&[c"free", c"__libc_free"]);
    CALLOC.find(&[c"calloc", c"__libc_calloc"]);
    REALLOC.find(&[c"realloc", c"__libc_realloc"]);
    MEMALIGN.find(&[c"memalign", c"__libc_memalign"]);
    POSIX_MEMALIGN.find(&[c"posix_memalign"]);
    ALIGNED_ALLOC.find(&[c"aligned_alloc"]);
    VALLOC.find(&[c"valloc", c"__libc_valloc"]);
    PVALLOC.find(&[c"pvalloc", c"__libc_pvalloc"]);
    USABLE_SIZE.find(&[c"malloc_usable_size"]);
}

fn out_of_memory() -> *mut c_void {
    Errno::set(libc::ENOMEM);
    ptr::null_mut()
}

/// Moves an object out of bootstrap memory, as its owner wants another size.
///
/// # Safety
/// `object` is owned by the bootstrap allocator.
#[cold]
unsafe fn leave_bootstrap(object: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: any size may be asked for.
    let moved = unsafe { malloc(size) };
    if !moved.is_null() {
        // SAFETY: the caller's promise.
        let kept = unsafe { bootstrap::requested_size(object) }.min(size);
        // SAFETY: both hold `kept` bytes, and `moved` is fresh.
        unsafe { ptr::copy_nonoverlapping(object.cast::<u8>(), moved.cast::<u8>(), kept) };
    }
    moved
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::multiple_unsafe_ops_per_block)]
    use super::*;

    #[test]
    fn every_function_of_the_c_library_is_found() {
        resolve();
        assert!(MALLOC.get().is_some() && FREE.get().is_some() && CALLOC.get().is_some());
        assert!(REALLOC.get().is_some() && MEMALIGN.get().is_some() && VALLOC.get().is_some());
        assert!(POSIX_MEMALIGN.get().is_some() && ALIGNED_ALLOC.get().is_some());
        assert!(USABLE_SIZE.get().is_some());
    }

    #[test]
    fn an_object_from_bootstrap_can_be_resized_and_freed() {
        let object = bootstrap::allocate(bootstrap::ALIGN, 24);
        // SAFETY: `object` holds 24 bytes; the moved one at least 24.
        unsafe {
            object.cast::<u8>().write_bytes(5, 24);
            assert_eq!(malloc_usable_size(object), 24);
            let moved = realloc(object, 4096);
            assert!(!bootstrap::owns(moved));
            assert_eq!(*moved.cast::<u8>().add(23), 5);
            free(object);
            free(moved);
        }
    }

    #[test]
    fn the_next_definition_of_an_unknown_name_is_null() {
        assert!(next_definition(c"everprof_no_such_function").is_null());
    }
}
