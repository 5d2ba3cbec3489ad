//! The header: what every arena begins with, and from where a reader finds all else.
//!
//! Context: sampled; written when an arena is made. Invariant: fields and [`Root`] numbers
//! keep their places and meanings from version to version of [`MAGIC`]; a root is set once,
//! with Release, when what it names is whole.

use std::mem;
use std::ptr::NonNull;

use super::record::{NewRecord, Record, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys;

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
    pub(super) magic: AtomicU64,
    /// Bytes handed out, the header's own included. Written by whoever
    /// allocates, by compare-and-swap.
    pub(super) used: AtomicU64,
    /// Bytes of the mapping.
    pub(super) capacity: AtomicU64,
    /// Offsets of the named records, by [`Root`]. Each is set once, with Release.
    pub(super) roots: [AtomicU32; ROOTS],
    /// The process that records here.
    pub process_id: AtomicU64,
    /// When it began, nanoseconds since the Unix epoch.
    pub started_unix_nanos: AtomicU64,
    /// The settings in force, for readers; by [`crate::settings::Name`].
    pub settings: [AtomicU64; 8],
    /// While the arena is founded, where the next spread array may stand, in bytes; else 0.
    /// Written by the founder, before anybody else has the arena.
    pub(super) spread: AtomicU64,
    spare: [AtomicU64; 7],
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

/// "everprof" followed by the version of the layout: any change of a record
/// that a reader sees must change the number.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"evrprof\x04");
/// Where the first record may stand.
pub(super) const HEADER_BYTES: usize = mem::size_of::<Header>();
