//! A page that the kernel wipes in a fork's child.
//!
//! Context: sampled. Twin of `not_wiped.rs`.

use std::ptr::NonNull;

use super::{PAGE_BYTES, keeping_errno, map_private, unmap};

/// Memory that reads as zero in a fork's child whatever its parent wrote, or
/// `None` where the kernel does not know `MADV_WIPEONFORK` (before 4.14).
pub(crate) fn map_wiped_on_fork() -> Option<NonNull<u8>> {
    let page = map_private(PAGE_BYTES)?;
    let wiped = keeping_errno(|| {
        // SAFETY: the advice covers the mapping made above and nothing else.
        unsafe { libc::madvise(page.as_ptr().cast(), PAGE_BYTES, libc::MADV_WIPEONFORK) == 0 }
    });
    if wiped {
        return Some(page);
    }
    // SAFETY: nobody has seen the page.
    unsafe { unmap(page, PAGE_BYTES) };
    None
}
