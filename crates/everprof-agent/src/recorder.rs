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
use std::ops::Range;

use everprof_core::settings::Name;
use everprof_core::{global, stack};

use crate::announce::Socket;
use crate::settings::{Settings, Waits};

/// Sets the recorder up on shared memory and hands that to the command line.
/// False: this process is not recorded.
pub(crate) fn begin(settings: &Settings<'_>, socket: &Socket) -> bool {
    let store = global::store();
    global::heap().set_period(settings.heap_period);
    set_waits(&settings.waits);
    store.set_memory_limit(settings.memory_limit);
    store.set_own_text(own_text());
    stack::set_depth_limit(settings.depth);
    let memory = Memfd::new(settings.memory_limit)
        .filter(|memory| store.init_shared(memory.0, settings.memory_limit));
    let Some(memory) = memory else {
        socket.complain("the program has no memory for its profile and runs unrecorded");
        return false;
    };
    global::on_start();
    socket.arena(memory.0)
}

/// Before the memory is made: readers find there what is in force from the first wait on.
fn set_waits(waits: &Waits) {
    let store = global::store();
    store.set(Name::BlockPeriod, waits.block_period_nanos);
    store.set(Name::MutexPeriod, waits.mutex_period_nanos);
    store.set(Name::MutexFraction, waits.mutex_one_in);
    let mut operations = store.settings().get(Name::WaitOperations) & !(SLEEP | IO);
    if waits.sleep {
        operations |= SLEEP;
    }
    if waits.io {
        operations |= IO;
    }
    store.set(Name::WaitOperations, operations);
}

/// The bits of the operations that are recorded only where somebody wants them.
const SLEEP: u64 = 1 << 5;
const IO: u64 = 1 << 7;

/// Gives a fork's child memory of its own. False: the child must not record.
pub(crate) fn move_to_child(memory_limit: usize, socket: &Socket) -> bool {
    Memfd::new(memory_limit).is_some_and(|memory| {
        global::store().move_to(memory.0, memory_limit) && socket.arena(memory.0)
    })
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
        let len = libc::off_t::try_from(len).ok()?;
        // SAFETY: a plain system call on our descriptor.
        let status = unsafe { libc::ftruncate(fd, len) };
        (status == 0).then_some(memory)
    }
}

impl Drop for Memfd {
    fn drop(&mut self) {
        // SAFETY: ours, closed once.
        unsafe { libc::close(self.0) };
    }
}

unsafe extern "C" {
    /// The linker's name for the first byte of the image that refers to it.
    static __ehdr_start: libc::Elf64_Ehdr;
}

/// Where this library's code lies: its frames are no part of a program's stack.
fn own_text() -> Range<u64> {
    let image = (&raw const __ehdr_start).cast::<u8>();
    // SAFETY: the linker places the image's header there, and the loader maps it.
    let header = unsafe { &__ehdr_start };
    // SAFETY: the program headers lie in the same first pages of the image.
    let first = unsafe { image.add(header.e_phoff as usize) }.cast::<libc::Elf64_Phdr>();
    // SAFETY: there are as many of them as the header says.
    let segments = unsafe { std::slice::from_raw_parts(first, usize::from(header.e_phnum)) };
    let is_code = |s: &&libc::Elf64_Phdr| s.p_type == libc::PT_LOAD && s.p_flags & libc::PF_X != 0;
    // A shared object is linked at 0, so an address in it is an offset from the header.
    let at = |segment: &libc::Elf64_Phdr| {
        let start = image as u64 + segment.p_vaddr;
        start..start + segment.p_memsz
    };
    segments.iter().find(is_code).map_or(0..0, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_text_holds_this_code_and_not_the_c_librarys() {
        let text = own_text();
        assert!(text.contains(&(own_text as *const () as u64)));
        assert!(!text.contains(&(libc::getpid as *const () as u64)));
    }

    #[test]
    fn a_memfd_has_the_length_asked_for_and_reads_as_zero() {
        let memory = Memfd::new(1 << 20).expect("a memfd");
        // SAFETY: zero is a valid stat.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `stat` may be written.
        assert_eq!(unsafe { libc::fstat(memory.0, &raw mut stat) }, 0);
        assert_eq!(stat.st_size, 1 << 20);
    }
}
