//! The recorders' own memory: one mapping, filled from the front, never given
//! back piece by piece.
//!
//! Context: sampled; making, opening and dropping an arena is cold.
//! Invariant: records name one another by [`Offset`] from the arena's base, so
//! that the mapping may be a file that another process reads at another
//! address. What has an offset is never moved or freed. Memory starts zeroed,
//! and every record type is valid when all its bits are zero ([`Record`]).
//!
//! ```text
//! base          FRONT_BYTES                                 base + capacity
//! | Header | … | tables' heads … | record | record | …  | untouched zero pages |
//!                                                        ^ Header::used
//! ```
//!
//! What every arena needs from the start stands together at its front (`Region::found`),
//! and the arrays that are touched here and there behind it: so a process that records
//! little pays for few pages. Those arrays come before whatever they name, as a file is
//! read from its front ([`Arena::open_read`]).
//!
//! A reader in another process sees a record only through an offset that was
//! stored with Release after the record was written, so that it may map the
//! file at any instant, also of a process that was killed in mid-record.

use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys;

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

/// Types that may stand in an arena.
///
/// # Safety
/// `repr(C)` or a primitive, made of integers and atomic integers only, valid
/// whatever its bits are, alignment at most 64, no `Drop`.
pub unsafe trait Record {
    /// Makes `count` records at `at` valid where zeroed memory is not, which is
    /// only so for loom's atomics.
    ///
    /// # Safety
    /// `at` is aligned and good for writing `count` records that nobody else sees.
    unsafe fn init(at: *mut Self, count: usize)
    where
        Self: Sized;
}

/// Declares plain records: zeroed memory is their first state. Under loom each
/// is written as its `new()`.
macro_rules! records {
    ($($name:ty),+ $(,)?) => { $(
        // SAFETY: every type in the lists of this crate is repr(C) or primitive
        // and holds integers and atomic integers only.
        unsafe impl $crate::arena::Record for $name {
            #[cfg(not(everprof_loom))]
            unsafe fn init(_at: *mut Self, _count: usize) {}
            #[cfg(everprof_loom)]
            unsafe fn init(at: *mut Self, count: usize) {
                for index in 0..count {
                    // SAFETY: within the `count` records that the caller gives.
                    let at = unsafe { at.add(index) };
                    // SAFETY: aligned and ours, as the caller promises.
                    unsafe { at.write(<$name>::new_record()) };
                }
            }
        }
    )+ };
}
pub(crate) use records;

/// First states, for loom.
#[cfg_attr(
    not(any(test, everprof_loom)),
    allow(dead_code, reason = "loom and tests begin with it")
)]
pub(crate) trait NewRecord {
    /// The state that zeroed memory stands for.
    fn new_record() -> Self;
}

macro_rules! new_record {
    ($($name:ty => $value:expr),+ $(,)?) => { $(
        impl NewRecord for $name {
            fn new_record() -> Self {
                $value
            }
        }
    )+ };
}
new_record!(u8 => 0, u64 => 0, AtomicU32 => AtomicU32::new(0), AtomicU64 => AtomicU64::new(0));
records!(u8, u64, AtomicU32, AtomicU64);

/// The named records that a reader starts from. A number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Root {
    /// The heap's bucket table.
    HeapTable = 0,
    /// The two epochs of its cells.
    HeapEpochs = 1,
    /// The heap's in-use store.
    HeapInUse = 2,
    /// The list of modules.
    Modules = 3,
    /// The bucket table of waits, by the stack of who waited.
    BlockTable = 4,
    /// The two epochs of its cells.
    BlockEpochs = 5,
    /// The bucket table of waits, by the stack of who ended them.
    MutexTable = 6,
    /// The two epochs of its cells.
    MutexEpochs = 7,
    /// Who waits now.
    WaitSlots = 8,
    /// What is waited for now, by its address.
    WaitAddresses = 9,
    /// The stacks that lead into locks, known by their number.
    WaitSites = 10,
    /// The bucket table of threads, by the stack of who started them.
    SpawnTable = 11,
    /// The two epochs of its cells.
    SpawnEpochs = 12,
    /// Threads that were started and have not ended.
    Threads = 13,
    /// Label sets.
    Labels = 14,
    /// The bucket table of CPU time, in an arena of its own.
    CpuTable = 15,
    /// The last wakes, by whom each was made possible.
    WakeLog = 16,
    /// The bucket table of tasks, by the stack in which they wait.
    TaskTable = 17,
    /// The two epochs of its cells.
    TaskEpochs = 18,
    /// The counters of a managed heap, which has an arena of its own.
    ManagedStages = 24,
    /// The names of its objects' types.
    ManagedTypes = 25,
    /// The bucket table of custom profiles.
    CustomTable = 26,
    /// The two epochs of its cells.
    CustomEpochs = 27,
    /// The stacks of a trace, in an arena of its own.
    TraceStacks = 29,
    /// What threads have recorded of it.
    TraceBuffers = 30,
}

/// Places for [`Root`]s: more can be named without moving what is there.
const ROOTS: usize = 32;

/// First bytes of every arena.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// [`MAGIC`]; written last, with Release, when an arena is made. Zero in a
    /// file whose owner has not begun.
    magic: AtomicU64,
    /// Bytes handed out, the header's own included. Written by whoever
    /// allocates, by compare-and-swap.
    used: AtomicU64,
    /// Bytes of the mapping.
    capacity: AtomicU64,
    /// Offsets of the named records, by [`Root`]. Each is set once, with Release.
    roots: [AtomicU32; ROOTS],
    /// The process that records here.
    pub process_id: AtomicU64,
    /// When it began, nanoseconds since the Unix epoch.
    pub started_unix_nanos: AtomicU64,
    /// The settings in force, for readers; by [`crate::settings::Name`].
    pub settings: [AtomicU64; 8],
    /// While the arena is founded, where the next spread array may stand, in bytes; else 0.
    /// Written by the founder, before anybody else has the arena.
    spread: AtomicU64,
    spare: [AtomicU64; 7],
}

/// An owned mapping.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an arena is memory of atomics and of records that are written before
// their offset is published; nothing in it belongs to a thread.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Private memory of `limit_bytes`, which costs nothing until it is used.
    #[must_use]
    pub fn anonymous(limit_bytes: usize) -> Option<Self> {
        let len = rounded(limit_bytes)?;
        let arena = Self {
            base: sys::map_private(len)?,
            len,
        };
        arena.begin();
        Some(arena)
    }

    /// The file behind `fd`, whose `len` bytes are zero and stay allocated; what
    /// is recorded here outlives this process.
    #[must_use]
    pub fn shared(fd: i32, len: usize) -> Option<Self> {
        if !(LEAST_BYTES..=MOST_BYTES).contains(&len) {
            return None;
        }
        let arena = Self {
            base: sys::map_file(fd, len)?,
            len,
        };
        // Relaxed: a file that somebody began is somebody's.
        if arena.region().header().magic.load(Ordering::Relaxed) != 0 {
            return None;
        }
        arena.begin();
        Some(arena)
    }

    /// A copy of another process's arena in the `len` bytes behind `fd`, to be
    /// read. `None`: that is no arena, or of another version, or not begun.
    ///
    /// A copy, because nobody can be kept from writing to the file or cutting it
    /// short: what is checked must stay as it was, and a mapped page that is gone
    /// ends the reader with SIGBUS. It is read from the front, where the tables'
    /// roots are, so that what they name was whole before it is read.
    #[must_use]
    pub fn open_read(fd: i32, len: usize) -> Option<Self> {
        if !(LEAST_BYTES..=MOST_BYTES).contains(&len) {
            return None;
        }
        let arena = Self {
            base: sys::map_private(len)?,
            len,
        };
        // SAFETY: a fresh mapping of `len` bytes, which nobody else sees.
        if !unsafe { sys::read_file(fd, arena.base, len) } {
            return None;
        }
        let header = arena.region().header();
        // Acquire: pairs with the Release in `begin`; the fields below are set.
        let begun = header.magic.load(Ordering::Acquire) == MAGIC;
        // Relaxed: published by the magic number.
        let fits = header.capacity.load(Ordering::Relaxed) == len as u64;
        if begun && fits { Some(arena) } else { None }
    }

    /// The memory, to work on.
    #[must_use]
    pub fn region(&self) -> Region<'_> {
        Region {
            base: self.base,
            len: self.len,
            arena: PhantomData,
        }
    }

    /// Gives up ownership: the mapping stays until [`Arena::from_parts`].
    #[must_use]
    pub(crate) fn into_parts(self) -> (NonNull<u8>, usize) {
        let parts = (self.base, self.len);
        mem::forget(self);
        parts
    }

    /// Takes ownership back.
    ///
    /// # Safety
    /// The parts came from `into_parts`, and nobody holds a region of them.
    pub(crate) unsafe fn from_parts(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    fn begin(&self) {
        // SAFETY: a mapping of at least LEAST_BYTES that nobody else sees yet
        // (of a shared file: no reader looks before the magic number is set).
        unsafe { init_header(self.base, self.len) };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: made by `sys`, owned by this value; regions borrow from it.
        unsafe { sys::unmap(self.base, self.len) };
    }
}

/// Writes the header of a fresh, zeroed mapping.
///
/// # Safety
/// `base` is good for `len` ≥ `LEAST_BYTES` zeroed bytes, which only this
/// thread uses.
pub(crate) unsafe fn init_header(base: NonNull<u8>, len: usize) {
    let header = base.cast::<Header>();
    // SAFETY: aligned to a page, in bounds, ours alone as the caller promises.
    unsafe { Header::init(header.as_ptr(), 1) };
    // SAFETY: as above; a header is valid when all bits are zero.
    let header = unsafe { header.as_ref() };
    // Relaxed, all of them: published by the magic number below or, within the
    // process, by whoever publishes the arena's base.
    header
        .used
        .store(mem::size_of::<Header>() as u64, Ordering::Relaxed);
    header.capacity.store(len as u64, Ordering::Relaxed);
    header
        .process_id
        .store(u64::from(sys::process_id()), Ordering::Relaxed);
    header
        .started_unix_nanos
        .store(sys::unix_nanos(), Ordering::Relaxed);
    // Release: publishes the fields above to `open_read` in another process.
    header.magic.store(MAGIC, Ordering::Release);
}

impl NewRecord for Header {
    fn new_record() -> Self {
        Self {
            magic: AtomicU64::new(0),
            used: AtomicU64::new(0),
            capacity: AtomicU64::new(0),
            roots: [(); ROOTS].map(|()| AtomicU32::new(0)),
            process_id: AtomicU64::new(0),
            started_unix_nanos: AtomicU64::new(0),
            settings: [(); 8].map(|()| AtomicU64::new(0)),
            spread: AtomicU64::new(0),
            spare: [(); 7].map(|()| AtomicU64::new(0)),
        }
    }
}
records!(Header);

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

/// As long as an arena for so many bytes is.
pub(crate) fn rounded(bytes: usize) -> Option<usize> {
    let len = bytes.clamp(LEAST_BYTES, MOST_BYTES);
    len.checked_next_multiple_of(sys::PAGE_BYTES)
}

/// "everprof" followed by the version of the layout: any change of a record
/// that a reader sees must change the number.
const MAGIC: u64 = u64::from_le_bytes(*b"evrprof\x03");
/// Offsets count 8 bytes, the alignment of the largest field.
const UNIT_BYTES: usize = 8;
const HEADER_BYTES: usize = mem::size_of::<Header>();
/// What the recorders' parts take at the front: 21 KiB, a third of it the first slots for
/// objects in use, which are touched as they are needed.
#[cfg(not(any(everprof_loom, miri)))]
const FRONT_BYTES: usize = 24 * 1024;
/// Models make their tables small.
#[cfg(any(everprof_loom, miri))]
const FRONT_BYTES: usize = 16 * 1024;
/// The front, the tables' heads and a few buckets: less makes no sense.
const LEAST_BYTES: usize = 128 * 1024;
/// What 32-bit offsets of 8 bytes reach.
const MOST_BYTES: usize = (u32::MAX as usize) * UNIT_BYTES;

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn layout_of_the_header_is_fixed() {
        assert_eq!(mem::size_of::<Header>(), 296);
        assert_eq!(mem::offset_of!(Header, roots), 24);
        assert_eq!(mem::offset_of!(Header, process_id), 152);
    }

    #[test]
    fn records_do_not_overlap_and_are_zero() {
        let arena = Arena::anonymous(LEAST_BYTES).unwrap();
        let region = arena.region();
        let first = region.alloc::<AtomicU64>(24).unwrap();
        let second = region.alloc_array::<u64>(2).unwrap();
        assert_eq!(second.raw() - first.raw(), 4);
        assert_eq!(region.array::<u64>(second, 2).unwrap(), [0, 0]);
    }

    #[test]
    fn full_arena_says_none_and_stays_full() {
        let arena = Arena::anonymous(LEAST_BYTES).unwrap();
        let region = arena.region();
        while region.alloc_array::<u64>(100).is_some() {}
        let used = region.used_bytes();
        assert!(used <= region.capacity_bytes());
        assert!(region.alloc_array::<u64>(1 << 40).is_none());
        assert_eq!(region.used_bytes(), used);
    }

    #[test]
    fn offsets_out_of_bounds_are_refused() {
        let arena = Arena::anonymous(LEAST_BYTES).unwrap();
        let region = arena.region();
        assert!(region.get::<AtomicU64>(Offset(u32::MAX)).is_none());
        assert!(
            region.get::<AtomicU64>(Offset(1)).is_none(),
            "the header is no record"
        );
        assert!(region.array::<u64>(Offset(100), usize::MAX / 4).is_none());
    }

    #[test]
    fn first_root_wins() {
        let arena = Arena::anonymous(LEAST_BYTES).unwrap();
        let region = arena.region();
        assert_eq!(region.root(Root::Modules), None);
        let (a, b) = (
            region.alloc::<AtomicU64>(0).unwrap(),
            region.alloc::<AtomicU64>(0).unwrap(),
        );
        assert_eq!(region.set_root(Root::Modules, a), Some(a));
        assert_eq!(region.set_root(Root::Modules, b), Some(a));
        assert_eq!(region.root(Root::Modules), Some(a));
    }

    #[test]
    fn two_arenas_do_not_know_each_other() {
        let (one, two) = (Arena::anonymous(0).unwrap(), Arena::anonymous(0).unwrap());
        one.region().alloc::<AtomicU64>(0).unwrap();
        assert!(one.region().used_bytes() > two.region().used_bytes());
    }
}
