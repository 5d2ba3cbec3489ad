//! The recorder of this process, and the memory it shares with the command line.
//!
//! Context: cold in `begin`; signal in `move_to_child` (system calls only).
//! Invariant: no descriptor stays open. The mapping keeps the memory for this
//! process, the command line's descriptor keeps it beyond our end.
//!
//! The memory is a memfd rather than a file in the output directory: a hole
//! in a file on a full disk would end the program with SIGBUS, and a memfd
//! never leaves anything behind. Pages that are never touched cost nothing.

use std::ffi::c_int;

use everprof_core::global;

use crate::announce::Socket;
use crate::settings::Settings;

/// Sets the recorder up on shared memory and hands that to the command line.
/// False: nothing was set up.
pub(crate) fn begin(settings: &Settings<'_>, socket: &Socket) -> bool {
    let Some(memory) = Memfd::new(settings.memory_limit) else {
        socket.complain("the program could not make memory for its profile (memfd_create)");
        return false;
    };
    if !socket.arena(memory.0) {
        return false;
    }
    global::heap().set_period(settings.heap_period);
    true
}

/// Gives a fork's child memory of its own. False: the child must not record.
pub(crate) fn move_to_child(_memory_limit: usize, _socket: &Socket) -> bool {
    false
}

/// An anonymous file of the kernel's; closed when dropped.
#[derive(Debug)]
struct Memfd(c_int);

impl Memfd {
    fn new(len: usize) -> Option<Self> {
        // SAFETY: a plain system call with a C string.
        let fd = unsafe { libc::memfd_create(c"everprof-arena".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return None;
        }
        let memory = Self(fd);
        // SAFETY: a plain system call on our descriptor.
        let status = unsafe { libc::ftruncate(fd, libc::off_t::try_from(len).ok()?) };
        (status == 0).then_some(memory)
    }
}

impl Drop for Memfd {
    fn drop(&mut self) {
        // SAFETY: ours, closed once.
        unsafe { libc::close(self.0) };
    }
}
