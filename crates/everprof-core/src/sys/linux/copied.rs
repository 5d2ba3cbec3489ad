//! Memory of this process, copied out by the kernel.
//!
//! Context: cold. Invariant: nothing is read by a load of ours, so that memory which is
//! unmapped meanwhile is an error, never a fault. Twin of `copied_by_file.rs`.

use super::keeping_errno;

/// Smallest page of both architectures.
const PAGE_BYTES: u64 = 4096;

/// Copies from `address` on; how many bytes there were to copy. Not for more than a page.
pub(crate) fn copy(process: i32, address: u64, to: &mut [u64]) -> usize {
    let length = size_of_val(to) as u64;
    // A piece is copied whole or not at all (process_vm_readv(2)): none straddles pages.
    let first = (PAGE_BYTES - address % PAGE_BYTES).min(length);
    let piece = |start: u64, bytes: u64| libc::iovec {
        iov_base: core::ptr::without_provenance_mut(start as usize),
        iov_len: bytes as usize,
    };
    let theirs = [
        piece(address, first),
        piece(address.wrapping_add(first), length - first),
    ];
    let ours = libc::iovec {
        iov_base: to.as_mut_ptr().cast(),
        iov_len: length as usize,
    };
    let copied = keeping_errno(|| {
        // SAFETY: the kernel writes at most `length` bytes, all of them within `to`, and
        // checks the addresses of the other side itself.
        unsafe { libc::process_vm_readv(process, &raw const ours, 1, theirs.as_ptr(), 2, 0) }
    });
    usize::try_from(copied).unwrap_or(0)
}
