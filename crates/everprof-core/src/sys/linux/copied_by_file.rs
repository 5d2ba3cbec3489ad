//! Memory of this process, copied out of `/proc/self/mem`.
//!
//! Context: cold. Twin of `copied.rs`, chosen with `--cfg everprof_emulated` by tests that run
//! where there is no `process_vm_readv` (qemu's user emulation). Programs are not built with it:
//! the file also gives what its process has forbidden itself to read (`PROT_NONE`).

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::keeping_errno;

/// Copies from `address` on; how many bytes there were to copy.
pub(crate) fn copy(_process: i32, address: u64, to: &mut [u64]) -> usize {
    keeping_errno(|| {
        // Anew each time: a fork's child would go on with its parent's memory.
        let Ok(memory) = File::open("/proc/self/mem") else {
            return 0;
        };
        let mut bytes = vec![0; size_of_val(to)];
        let copied = memory.read_at(&mut bytes, address).unwrap_or(0);
        for (word, bytes) in to.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        copied
    })
}
