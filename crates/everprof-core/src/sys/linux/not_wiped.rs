//! No page that the kernel wipes in a fork's child: as if it were before 4.14.
//!
//! Context: sampled. Twin of `wiped.rs`, chosen with `--cfg everprof_no_wipe` by
//! tests that run where the advice is accepted and not followed (qemu's user
//! emulation), and by those of the way that old kernels take.

use std::ptr::NonNull;

/// Never: the process id decides.
pub(crate) fn map_wiped_on_fork() -> Option<NonNull<u8>> {
    None
}
