//! Where other memory cannot be read nothing is suspected. Nor under an emulator: with qemu's, a
//! search had not come to its end after two minutes.
//!
//! Context: cold. Twin of `reach.rs`.

use super::entry::{Entry, Word};

/// A task that waits, with wakers that somebody keeps.
#[derive(Debug)]
#[allow(dead_code, reason = "nobody looks at it here")]
pub(super) struct Asked {
    pub(super) entry: &'static Entry,
    pub(super) word: Word,
    pub(super) size_bytes: usize,
    pub(super) wakers: u32,
}

/// Nothing is known.
pub(super) fn alone(_asked: &[Asked], _asker: u64) -> Option<Vec<bool>> {
    None
}
