//! What a function's first instructions tell of its frame, aarch64: not asked, since
//! functions that call others save the frame pointer beside the link register, so that
//! the first of them on a stack makes it known.
//!
//! Context: cold. Twin of `prologue_x86_64.rs`.

/// Words of code to look at.
pub(super) const WORDS: usize = 1;

/// Not known.
pub(super) fn frame_bytes(_code: &[u64; WORDS], _known: usize) -> Option<u64> {
    None
}

/// Not asked.
pub(super) fn ends_in_call(_before: u64) -> bool {
    false
}
