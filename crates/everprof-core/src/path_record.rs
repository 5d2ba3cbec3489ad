//! A path in an arena: what proves, without a walk, that a stack is the one that it was made of.
//!
//! Context: sampled. Invariant: a record is written before its offset is published, and never
//! again. It is one word, how many follow, and the words of [`crate::stack::path`].

use crate::arena::{Offset, Region};
use crate::sync::{AtomicU64, Ordering};

/// Writes a path. `None`: no room. The caller publishes it, with Release.
pub(crate) fn write(region: Region<'_>, path: &[u64]) -> Option<Offset> {
    let at = region.alloc_array::<AtomicU64>(path.len() + 1)?;
    let record = region.array::<AtomicU64>(at, path.len() + 1)?;
    let (len, words) = record.split_first()?;
    // Relaxed, both: published by the caller.
    len.store(path.len() as u64, Ordering::Relaxed);
    for (place, word) in words.iter().zip(path) {
        place.store(*word, Ordering::Relaxed);
    }
    Some(at)
}

/// The path at `at`, which the caller has read with Acquire.
#[inline]
pub(crate) fn words(region: Region<'_>, at: Offset) -> Option<&[AtomicU64]> {
    // Relaxed: written before the offset was published.
    let len = region.get::<AtomicU64>(at)?.load(Ordering::Relaxed);
    region.array(at.plus_bytes(size_of::<u64>())?, len as usize)
}
