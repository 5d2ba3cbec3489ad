//! The stack of another thread, which is asleep, read from outside.
//!
//! Context: cold. Invariant: nothing of another thread is read through a reference or
//! a plain load. The kernel copies it out (`process_vm_readv` on this very process),
//! so that memory which is unmapped or written meanwhile is an error or an old value,
//! never a fault. Whether the thread slept all the while is for the caller to see to.
//!
//! Known are the stack pointer and the pc (/proc/self/task/TID/syscall), but not the
//! frame pointer, nor the link register. What follows from it:
//!
//! - Frames based on the stack pointer are walked as always, and if one of them has
//!   saved the frame pointer, it is known from there on.
//! - A frame may be based on a frame pointer that nobody has saved yet: std is built with
//!   frame pointers, and its callees in the C library need not touch them. How far such
//!   a frame reaches is read from its function's first instructions (`prologue`), and
//!   believed if what stands there as a return address is one: behind a call.
//!   Else the stack ends there, and says so.
//! - Modules that could be unloaded meanwhile have no rules here: no frame on this
//!   thread's stack keeps them. Frame pointers that are known lead on through them.

use core::ops::Range;

use super::lookup::{self, Lookup};
use crate::modules::loaded as modules;
use crate::stack::rules::Rule;
use crate::stack::walk::{Memory, Place, Rules, walk_outside};
use crate::stack::{Captured, depth_limit};

#[cfg_attr(target_arch = "x86_64", path = "outside/prologue_x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "outside/prologue_aarch64.rs")]
mod prologue;

/// What the sleeping thread's pc is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Behind the instruction that entered the kernel.
    InCall,
    /// Any instruction: the thread sleeps on a page fault.
    Interrupted,
}

/// A page's worth of the other thread's stack: enough for most stacks (30 frames of 100
/// bytes). The kernel takes 1 µs for it, and 1.5 for twice as much.
#[derive(Debug)]
pub(crate) struct Window {
    words: [u64; Self::WORDS],
    start: u64,
    bytes: u64,
}

impl Window {
    const WORDS: usize = 512;

    /// Nothing read yet.
    pub(crate) const fn new() -> Self {
        Self {
            words: [0; Self::WORDS],
            start: 0,
            bytes: 0,
        }
    }
}

/// Writes the stack of a thread that sleeps at `pc` and `sp` to `out`, leaf first.
pub(crate) fn capture_outside(
    (pc, sp): (u64, u64),
    leaf: Leaf,
    window: &mut Window,
    out: &mut [u64],
) -> Captured {
    window.bytes = 0;
    let limit = depth_limit().min(out.len());
    let out = out.get_mut(..limit).unwrap_or(&mut []);
    let mut memory = Outside { window, leaf };
    walk_outside((pc, sp), &mut memory, &mut Permanent(Lookup::new()), out)
}

/// Rules of modules that stay loaded, whoever's frames they have.
struct Permanent(Lookup);

impl Rules for Permanent {
    fn rule(&mut self, lookup: u64, _trusted: bool) -> Rule {
        if modules::stays_loaded(lookup) {
            self.0.rule(lookup, false)
        } else {
            Rule::NOT_COVERED
        }
    }
}

struct Outside<'w> {
    window: &'w mut Window,
    leaf: Leaf,
}

impl Memory for Outside<'_> {
    #[inline]
    fn peek(&self, address: u64) -> Option<u64> {
        // As in `probe`: one comparison refuses misaligned addresses and those outside.
        let index = address.wrapping_sub(self.window.start).rotate_right(3);
        if index >= self.window.bytes >> 3 {
            return None;
        }
        self.window.words.get(index as usize).copied()
    }

    fn read(&mut self, address: u64) -> Option<u64> {
        if let Some(word) = self.peek(address) {
            return Some(word);
        }
        if !address.is_multiple_of(8) {
            return None;
        }
        self.window.start = address;
        self.window.bytes = copy(address, &mut self.window.words) as u64 & !7;
        self.peek(address)
    }

    fn code(&mut self, address: u64) -> Option<u64> {
        let mut word = [0];
        (copy(address, &mut word) == 8).then_some(word[0])
    }

    fn frame_pointer(&mut self, place: Place) -> Option<u64> {
        // A function interrupted within its first instructions has not done all of them.
        let interrupted = place.exact && self.leaf == Leaf::Interrupted;
        if interrupted || !modules::stays_loaded(place.lookup) {
            return None;
        }
        let module = modules::find(place.lookup)?;
        let (header, segment) = module.tables()?;
        let Range { start, end } = lookup::tables(header, segment)
            .function(place.lookup)
            .ok()?;
        let mut code = [0; prologue::WORDS];
        let known = copy(start, &mut code).min(end.wrapping_sub(start) as usize);
        let fp = place.sp.wrapping_add(prologue::frame_bytes(&code, known)?);
        let return_address = self.read(fp.wrapping_add(8))?;
        if !modules::stays_loaded(return_address) {
            return None;
        }
        let before = self.code(return_address.wrapping_sub(8))?;
        prologue::ends_in_call(before).then_some(fp)
    }
}

/// Copies from `address` on; how many bytes there were to copy. Not for more than a page.
fn copy(address: u64, to: &mut [u64]) -> usize {
    const PAGE: u64 = 4096;
    let length = size_of_val(to) as u64;
    // A piece is copied whole or not at all (process_vm_readv(2)): none straddles pages.
    let first = (PAGE - address % PAGE).min(length);
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
    // SAFETY: takes no argument.
    let process = unsafe { libc::getpid() };
    // SAFETY: the kernel writes at most `length` bytes, all of them within `to`, and
    // checks the addresses of the other side itself.
    let copied =
        unsafe { libc::process_vm_readv(process, &raw const ours, 1, theirs.as_ptr(), 2, 0) };
    usize::try_from(copied).unwrap_or(0)
}
