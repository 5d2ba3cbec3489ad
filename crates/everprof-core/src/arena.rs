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
//! A reader in another process sees a record only through an offset, which was
//! stored with Release after the record was written. So it may map the file at
//! any instant, also that of a process which was killed in mid-record.

use std::mem;
use std::ptr::NonNull;

use crate::sync::Ordering;
use crate::sys;

mod header;
mod record;
mod region;

use header::MAGIC;
pub(crate) use header::init_header;
pub use header::{Header, Root};
pub use record::Record;
pub(crate) use record::{NewRecord, records};
use region::UNIT_BYTES;
pub use region::{Offset, Region};

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
        Region::of(self)
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

/// As long as an arena for so many bytes is.
pub(crate) fn rounded(bytes: usize) -> Option<usize> {
    let len = bytes.clamp(LEAST_BYTES, MOST_BYTES);
    len.checked_next_multiple_of(sys::PAGE_BYTES)
}

/// The front, the tables' heads and a few buckets: less makes no sense.
const LEAST_BYTES: usize = 128 * 1024;
/// What 32-bit offsets of 8 bytes reach.
const MOST_BYTES: usize = (u32::MAX as usize) * UNIT_BYTES;

#[cfg(all(test, not(everprof_loom)))]
mod tests;
