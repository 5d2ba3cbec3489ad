//! A region: an arena's memory while it is borrowed, to hand out and to read.
//!
//! Context: sampled. Invariant: what has an [`Offset`] is never moved or freed, and nobody
//! reads it before its offset was stored with Release. An offset that leads out of the
//! mapping, as a damaged file may have, gives `None`.

use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;

use super::Arena;
use super::header::{HEADER_BYTES, Header, Root};
use super::record::Record;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Where a record stands: bytes from the arena's base, divided by 8. Never 0,
/// where the header is; 0 in memory means "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Offset(u32);

impl Offset {
    /// The offset stored as `raw`, unless that says "none".
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        if raw == 0 { None } else { Some(Self(raw)) }
    }

    /// As stored in records.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Of the byte `bytes` behind this one's record.
    #[must_use]
    pub fn plus_bytes(self, bytes: usize) -> Option<Self> {
        let units = u32::try_from(bytes / UNIT_BYTES).ok()?;
        self.0.checked_add(units).map(Self)
    }

    fn bytes(self) -> usize {
        self.0 as usize * UNIT_BYTES
    }
}

/// An arena's memory, borrowed: what tables and lists work on.
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    base: NonNull<u8>,
    len: usize,
    arena: PhantomData<&'a Arena>,
}

// SAFETY: as for `Arena`.
unsafe impl Send for Region<'_> {}
// SAFETY: as for `Arena`.
unsafe impl Sync for Region<'_> {}

impl<'a> Region<'a> {
    pub(super) fn of(arena: &'a Arena) -> Self {
        Self {
            base: arena.base,
            len: arena.len,
            arena: PhantomData,
        }
    }

    /// The region of an arena known by what `into_parts` gave.
    ///
    /// # Safety
    /// `base` is that of a mapping of `len` bytes with a header (`init_header`),
    /// which stays mapped during `'a`.
    pub(crate) unsafe fn from_parts(base: NonNull<u8>, len: usize) -> Self {
        Self {
            base,
            len,
            arena: PhantomData,
        }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &'a Header {
        // SAFETY: every region begins with a header (LEAST_BYTES, `init_header`).
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    /// The first byte; the same for all regions of one arena.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The addresses it takes.
    #[must_use]
    pub fn addresses(&self) -> core::ops::Range<u64> {
        let start = self.base.addr().get() as u64;
        start..start + self.len as u64
    }

    /// Bytes of the mapping.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.len
    }

    /// Bytes handed out so far.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        // Relaxed: a figure; nothing is read because of it.
        self.header().used.load(Ordering::Relaxed) as usize
    }

    /// A zeroed `T` followed by `tail_bytes` zeroed bytes; `None` when the arena
    /// is full. Nobody else knows the place before its offset is stored.
    #[must_use]
    pub fn alloc<T: Record>(&self, tail_bytes: usize) -> Option<Offset> {
        let size = mem::size_of::<T>().checked_add(tail_bytes)?;
        let at = self.reserve(size, mem::align_of::<T>())?;
        // SAFETY: `reserve` gave this thread alone the bytes of one `T`, aligned.
        unsafe { T::init(self.pointer(at).cast(), 1) };
        Some(at)
    }

    /// `count` zeroed `T`s in a row, as [`Region::alloc`].
    #[must_use]
    pub fn alloc_array<T: Record>(&self, count: usize) -> Option<Offset> {
        let size = mem::size_of::<T>().checked_mul(count)?;
        let at = self.reserve(size, mem::align_of::<T>())?;
        // SAFETY: `reserve` gave this thread alone the bytes of `count` `T`s, aligned.
        unsafe { T::init(self.pointer(at).cast(), count) };
        Some(at)
    }

    /// These words. The caller publishes them, with Release; they are never written again.
    pub(crate) fn alloc_words(&self, words: &[u64]) -> Option<Offset> {
        let at = self.alloc_array::<AtomicU64>(words.len())?;
        for (place, word) in self.array::<AtomicU64>(at, words.len())?.iter().zip(words) {
            // Relaxed: published by the caller.
            place.store(*word, Ordering::Relaxed);
        }
        Some(at)
    }

    /// Runs `make`, which makes what the arena is to have from the start, before anybody
    /// else has it. `None`: `make` says so, or what it made does not fit.
    pub(crate) fn found(&self, make: impl FnOnce(Self) -> Option<()>) -> Option<()> {
        let header = self.header();
        // Relaxed, all: nobody else is here.
        header.spread.store(FRONT_BYTES as u64, Ordering::Relaxed);
        make(*self)?;
        let behind = header.spread.swap(0, Ordering::Relaxed);
        let front = header.used.fetch_max(behind, Ordering::Relaxed);
        (front <= FRONT_BYTES as u64).then_some(())
    }

    /// As [`Region::alloc_array`], of what is touched here and there: while the arena is
    /// founded it comes behind all that is small.
    #[must_use]
    pub fn alloc_spread<T: Record>(&self, count: usize) -> Option<Offset> {
        let spread = &self.header().spread;
        // Relaxed, both: nobody else is here where it is not 0.
        let start = spread.load(Ordering::Relaxed);
        if start == 0 {
            return self.alloc_array::<T>(count);
        }
        let size = mem::size_of::<T>().checked_mul(count)? as u64;
        let start = start.checked_next_multiple_of(mem::align_of::<T>().max(UNIT_BYTES) as u64)?;
        let end = start.checked_add(size)?;
        if end > self.len as u64 {
            return None;
        }
        spread.store(end, Ordering::Relaxed);
        let at = Offset::from_raw(u32::try_from(start / UNIT_BYTES as u64).ok()?)?;
        // SAFETY: nobody else has the arena, and neither the front nor another array
        // reaches there (`found` refuses a front that does).
        unsafe { T::init(self.pointer(at).cast(), count) };
        Some(at)
    }

    /// The record at `at`; `None` if it does not lie within the arena, which
    /// only happens when another process's file is damaged.
    #[must_use]
    #[inline]
    pub fn get<T: Record>(&self, at: Offset) -> Option<&'a T> {
        self.array(at, 1).and_then(<[T]>::first)
    }

    /// The `count` records from `at` on, as [`Region::get`].
    #[must_use]
    #[inline]
    pub fn array<T: Record>(&self, at: Offset, count: usize) -> Option<&'a [T]> {
        let size = mem::size_of::<T>().checked_mul(count)?;
        let start = at.bytes();
        if !start.is_multiple_of(mem::align_of::<T>())
            || start < HEADER_BYTES
            || start.checked_add(size)? > self.len
        {
            return None;
        }
        // SAFETY: in bounds and aligned, checked above; the base is aligned to a
        // page, and a `Record` is valid whatever its bits are. Records of plain
        // integers are written before their offset is published (module head).
        Some(unsafe { std::slice::from_raw_parts(self.pointer(at).cast(), count) })
    }

    /// A fresh record's place, to write what is not atomic.
    #[must_use]
    pub fn pointer(&self, at: Offset) -> *mut u8 {
        self.base.as_ptr().wrapping_add(at.bytes())
    }

    /// The offset of the record at an address, as [`Region::pointer`] gave it; `None` if
    /// that is not in this arena.
    #[must_use]
    pub fn offset_of(&self, address: *const u8) -> Option<Offset> {
        let bytes = address.addr().checked_sub(self.base.addr().get())?;
        let units = u32::try_from(bytes / UNIT_BYTES).ok()?;
        (bytes < self.len)
            .then_some(units)
            .and_then(Offset::from_raw)
    }

    /// The named record.
    #[must_use]
    #[inline]
    pub fn root(&self, root: Root) -> Option<Offset> {
        // Acquire: pairs with the Release in `set_root`; the record is whole.
        Offset::from_raw(self.root_cell(root)?.load(Ordering::Acquire))
    }

    /// Names `at`, unless somebody named another record first; gives the one
    /// that has the name now.
    pub fn set_root(&self, root: Root, at: Offset) -> Option<Offset> {
        // Release: publishes the record. Acquire on failure: the winner's is whole.
        match self.root_cell(root)?.compare_exchange(
            0,
            at.raw(),
            Ordering::Release,
            Ordering::Acquire,
        ) {
            Ok(_) => Some(at),
            Err(raw) => Offset::from_raw(raw),
        }
    }

    fn root_cell(&self, root: Root) -> Option<&'a AtomicU32> {
        self.header().roots.get(root as usize)
    }

    fn reserve(&self, size: usize, align: usize) -> Option<Offset> {
        let used = &self.header().used;
        let align = align.max(UNIT_BYTES) as u64;
        // Relaxed, load and swap: the counter only divides the memory; what is
        // written there is published by whoever stores the offset.
        let mut seen = used.load(Ordering::Relaxed);
        loop {
            let start = seen.checked_next_multiple_of(align)?;
            let end = start.checked_add(size as u64)?;
            if end > self.len as u64 {
                return None;
            }
            match used.compare_exchange_weak(seen, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    return u32::try_from(start / UNIT_BYTES as u64)
                        .ok()
                        .and_then(Offset::from_raw);
                }
                Err(now) => seen = now,
            }
        }
    }
}

/// Offsets count 8 bytes, the alignment of the largest field.
pub(super) const UNIT_BYTES: usize = 8;
/// What the recorders' parts take at the front: 21 KiB, a third of it the first slots for
/// objects in use, which are touched as they are needed.
#[cfg(not(any(everprof_loom, miri)))]
const FRONT_BYTES: usize = 24 * 1024;
/// Models make their tables small.
#[cfg(any(everprof_loom, miri))]
const FRONT_BYTES: usize = 16 * 1024;
