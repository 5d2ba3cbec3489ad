//! The list of modules: append-only, in static memory.
//!
//! Context: signal. Any thread adds, any reads. Invariant: a record is complete
//! before its pointer is stored in the first free slot, and never changes afterwards
//! but for `loaded` and `seen`.
//!
//! It is not in the recorders' arena, because a walk relies on it, and the arena
//! may be a file that another process writes, or be exchanged under a fork's child.
//! The arena gets a copy instead, for its readers.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::ModuleInfo;

/// What is told of a module to be recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Description<'a> {
    /// Code: start, limit, offset in the file.
    pub(crate) start: u64,
    pub(crate) limit: u64,
    pub(crate) file_offset: u64,
    pub(crate) bias: u64,
    /// The whole mapping.
    pub(crate) map_start: u64,
    pub(crate) map_limit: u64,
    pub(crate) build_id: &'a [u8],
    pub(crate) path: &'a [u8],
}

/// One module.
#[derive(Debug)]
pub(crate) struct Record {
    start: u64,
    limit: u64,
    file_offset: u64,
    pub(crate) bias: u64,
    pub(crate) map_start: u64,
    pub(crate) map_limit: u64,
    build_id: &'static [u8],
    path: &'static [u8],
    /// Written by refreshes and by walks that come through the module again.
    loaded: AtomicBool,
    /// Number of the last refresh that saw it.
    seen: AtomicU64,
}

impl Record {
    pub(crate) fn info(&self) -> ModuleInfo<'_> {
        ModuleInfo {
            start: self.start,
            limit: self.limit,
            file_offset: self.file_offset,
            bias: self.bias,
            build_id: self.build_id,
            path: self.path,
            // Relaxed: a flag of its own.
            loaded: self.loaded.load(Ordering::Relaxed),
        }
    }

    fn is(&self, module: &Description<'_>) -> bool {
        self.start == module.start
            && self.limit == module.limit
            && self.file_offset == module.file_offset
            && self.bias == module.bias
            && self.build_id == module.build_id
            && self.path == module.path
    }
}

/// Bytes for records, paths and build ids. A record with a path of 60 bytes takes
/// 180, so some 700 modules fit; programs with 300 libraries exist. Zero pages,
/// touched as they are used.
const BYTES: usize = if cfg!(miri) { 8 << 10 } else { 128 << 10 };

/// The process's modules.
pub(crate) static RECORDS: Records = Records::new();

/// Modules at most: what fits into [`BYTES`] with the shortest paths.
const SLOTS: usize = if cfg!(miri) { 64 } else { 1024 };

#[derive(Debug)]
pub(crate) struct Records {
    /// Filled from the front. Any thread stores with Release, readers Acquire.
    slots: [AtomicPtr<Record>; SLOTS],
    /// Slots filled, counted after each. Asked by every sample.
    count: AtomicUsize,
    /// Bytes handed out. Any thread adds.
    used: AtomicUsize,
    /// Modules that found no room. Any thread adds.
    lost: AtomicU64,
    bytes: UnsafeCell<Bytes>,
}

#[derive(Debug)]
#[repr(align(16))]
struct Bytes(#[allow(dead_code, reason = "only its address is used")] MaybeUninit<[u8; BYTES]>);

// SAFETY: a piece of `bytes` belongs to whoever advanced `used` over it until it is
// stored in a slot, and is only read from then on.
unsafe impl Sync for Records {}

impl Records {
    const fn new() -> Self {
        Self {
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS],
            count: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            bytes: UnsafeCell::new(Bytes(MaybeUninit::zeroed())),
        }
    }

    /// Every record, oldest first.
    pub(crate) fn iter(&'static self) -> impl Iterator<Item = &'static Record> {
        self.slots.iter().map_while(|slot| {
            // Acquire: pairs with the Release in `add`; the record is complete.
            let record = slot.load(Ordering::Acquire);
            // SAFETY: null, or stored by `add`: complete, and never freed.
            unsafe { record.as_ref() }
        })
    }

    pub(crate) fn count(&self) -> usize {
        // Relaxed: a figure.
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn lost(&self) -> u64 {
        // Relaxed: a figure of its own.
        self.lost.load(Ordering::Relaxed)
    }

    /// Records `module` as seen by refresh number `refresh`, unless it is known.
    pub(crate) fn add(&'static self, module: &Description<'_>, refresh: u64) {
        let mut made: *mut Record = ptr::null_mut();
        for slot in &self.slots {
            // Acquire: as in `iter`.
            let mut found = slot.load(Ordering::Acquire);
            if found.is_null() {
                if made.is_null() {
                    made = self.make(module, refresh).unwrap_or(ptr::null_mut());
                }
                if made.is_null() {
                    break;
                }
                // Release: publishes the record. Acquire on failure: another thread
                // has taken the slot, perhaps for the same module.
                match slot.compare_exchange(found, made, Ordering::Release, Ordering::Acquire) {
                    Ok(_) => {
                        // Relaxed: a figure.
                        self.count.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    Err(other) => found = other,
                }
            }
            // SAFETY: not null, so stored by `add`: complete, and never freed.
            let record = unsafe { &*found };
            if record.is(module) {
                // Relaxed: flags of their own.
                record.seen.store(refresh, Ordering::Relaxed);
                record.loaded.store(true, Ordering::Relaxed);
                return;
            }
        }
        // Relaxed: a figure of its own.
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Marks what refresh number `refresh` did not see. True if there was any.
    pub(crate) fn forget_unseen(&'static self, refresh: u64) -> bool {
        let mut any = false;
        for record in self.iter() {
            // Relaxed: flags of their own; refreshes are serialised.
            if record.seen.load(Ordering::Relaxed) < refresh {
                any |= record.loaded.swap(false, Ordering::Relaxed);
            }
        }
        any
    }

    fn make(&'static self, module: &Description<'_>, refresh: u64) -> Option<*mut Record> {
        let place = self.allocate(size_of::<Record>())?.cast::<Record>();
        let build_id = self.copy(module.build_id)?;
        let path = self.copy(module.path)?;
        let record = Record {
            start: module.start,
            limit: module.limit,
            file_offset: module.file_offset,
            bias: module.bias,
            map_start: module.map_start,
            map_limit: module.map_limit,
            build_id,
            path,
            loaded: AtomicBool::new(true),
            seen: AtomicU64::new(refresh),
        };
        // SAFETY: `allocate` gave this thread alone so many bytes, aligned to 16.
        unsafe { place.write(record) };
        Some(place)
    }

    fn copy(&'static self, bytes: &[u8]) -> Option<&'static [u8]> {
        let place = self.allocate(bytes.len())?;
        // SAFETY: `allocate` gave this thread alone so many bytes.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        // SAFETY: just written, static, and written never again.
        Some(unsafe { core::slice::from_raw_parts(place, bytes.len()) })
    }

    /// `bytes` bytes at an address divisible by 16.
    fn allocate(&'static self, bytes: usize) -> Option<*mut u8> {
        let rounded = bytes.checked_next_multiple_of(16)?;
        // Relaxed: only hands out numbers; what is written there is published by `add`.
        let update = |used: usize| used.checked_add(rounded).filter(|&end| end <= BYTES);
        let start = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .ok()?;
        // SAFETY: `start` is within the static's bytes.
        Some(unsafe { self.bytes.get().cast::<u8>().add(start) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn module(start: u64, path: &str) -> Description<'_> {
        Description {
            start,
            limit: start + 0x1000,
            file_offset: 0x1000,
            bias: start - 0x1000,
            map_start: start - 0x1000,
            map_limit: start + 0x2000,
            build_id: &[1, 2, 3],
            path: path.as_bytes(),
        }
    }

    fn paths(records: &'static Records) -> Vec<(String, bool)> {
        let mut paths = Vec::new();
        for info in records.iter().map(Record::info) {
            paths.push((String::from_utf8_lossy(info.path).into_owned(), info.loaded));
        }
        paths
    }

    #[test]
    fn a_module_is_recorded_once_and_in_order() {
        static RECORDS: Records = Records::new();
        let records = &RECORDS;
        for _ in 0..3 {
            records.add(&module(0x10000, "/bin/a"), 1);
            records.add(&module(0x20000, "/lib/b"), 1);
        }
        assert_eq!(
            paths(records),
            [("/bin/a".to_owned(), true), ("/lib/b".to_owned(), true)]
        );
        let info = records.iter().last().unwrap().info();
        assert_eq!(
            (info.start, info.limit, info.build_id),
            (0x20000, 0x21000, &[1, 2, 3][..])
        );
    }

    #[test]
    fn what_a_refresh_does_not_see_is_kept_but_gone() {
        static RECORDS: Records = Records::new();
        let records = &RECORDS;
        records.add(&module(0x10000, "/bin/a"), 1);
        records.add(&module(0x20000, "/lib/b"), 1);
        records.add(&module(0x10000, "/bin/a"), 2);
        assert!(records.forget_unseen(2));
        assert!(!records.forget_unseen(2));
        assert_eq!(
            paths(records),
            [("/bin/a".to_owned(), true), ("/lib/b".to_owned(), false)]
        );
        records.add(&module(0x20000, "/lib/b"), 3);
        assert_eq!(paths(records)[1], ("/lib/b".to_owned(), true));
    }

    #[test]
    fn another_module_in_the_same_place_is_another_record() {
        static RECORDS: Records = Records::new();
        let records = &RECORDS;
        records.add(&module(0x10000, "/lib/a"), 1);
        records.add(&module(0x10000, "/lib/b"), 1);
        assert_eq!(paths(records).len(), 2);
    }

    #[test]
    fn a_full_list_counts_what_it_loses() {
        static RECORDS: Records = Records::new();
        let records = &RECORDS;
        for index in 1..=2 * SLOTS as u64 {
            records.add(&module(index << 16, "/some/library/with/a/path"), 1);
        }
        let kept = paths(records).len() as u64;
        assert!(kept > SLOTS as u64 / 2);
        assert_eq!(kept + records.lost(), 2 * SLOTS as u64);
    }

    /// Each thread may have made every record before it finds another's, and so
    /// used four times the room; Miri's is small.
    #[test]
    fn threads_that_add_the_same_modules_make_one_record_each() {
        const MODULES: u64 = if cfg!(miri) { 8 } else { 19 };
        static RECORDS: Records = Records::new();
        let records = &RECORDS;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (1..=MODULES).for_each(|index| records.add(&module(index << 16, "/lib/x"), 1))
                });
            }
        });
        assert_eq!(paths(records).len() as u64, MODULES);
    }
}
