//! No counter: the kernel's clock, or std's, is all there is.
//!
//! Context: any. Twin of `x86_64.rs` and `aarch64.rs`.

use crate::sys;

/// No clock has no name.
pub(super) const CLOCK_SOURCE: &[u8] = b"none";

/// There is none.
pub(super) fn is_steady() -> bool {
    false
}

/// Nobody asks: it is not trusted.
#[inline(always)]
pub(super) fn read() -> u64 {
    sys::monotonic_nanos()
}

/// As above.
#[inline(always)]
pub(super) fn read_in_order() -> u64 {
    sys::monotonic_nanos()
}
