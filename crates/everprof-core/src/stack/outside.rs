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
use std::collections::HashMap;

use super::lookup::{self, Lookup};
use crate::modules::loaded as modules;
use crate::stack::rules::Rule;
use crate::stack::walk::{Memory, Place, Rules, walk_outside};
use crate::stack::{Captured, depth_limit};
use crate::sys;

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

/// Reads stacks, one after the other.
#[derive(Debug)]
pub(crate) struct Reader {
    process: i32,
    window: Window,
    /// Bytes from stack to frame pointer in the middle of the call at an address, and
    /// return addresses known to be behind a call. Facts about code that stays: many
    /// threads sleep in few places, and each fact costs as much as a stack.
    frames: HashMap<u64, Option<u64>>,
    calls: HashMap<u64, bool>,
}

/// A page's worth of the other thread's stack: enough for most stacks (30 frames of 100
/// bytes). The kernel takes 1 µs for it, and 1.5 for twice as much.
#[derive(Debug)]
struct Window {
    words: [u64; 512],
    start: u64,
    bytes: u64,
}

impl Reader {
    /// For this process.
    pub(crate) fn new() -> Self {
        Self {
            process: sys::process_id().cast_signed(),
            window: Window {
                words: [0; 512],
                start: 0,
                bytes: 0,
            },
            frames: HashMap::new(),
            calls: HashMap::new(),
        }
    }

    /// Writes the stack of a thread that sleeps at `pc` and `sp` to `out`, leaf first.
    pub(crate) fn capture(
        &mut self,
        (pc, sp): (u64, u64),
        leaf: Leaf,
        out: &mut [u64],
    ) -> Captured {
        self.window.bytes = 0;
        let limit = depth_limit().min(out.len());
        let out = out.get_mut(..limit).unwrap_or(&mut []);
        let mut memory = Outside { reader: self, leaf };
        walk_outside((pc, sp), &mut memory, &mut Permanent(Lookup::new()), out)
    }

    /// Bytes from the stack pointer to the frame pointer, in the middle of the call that
    /// `lookup` is in.
    fn frame_bytes(&mut self, lookup: u64) -> Option<u64> {
        if let Some(known) = self.frames.get(&lookup) {
            return *known;
        }
        let found = read_frame_bytes(self.process, lookup);
        self.frames.insert(lookup, found);
        found
    }

    /// Whether a call ends at `address`.
    fn is_behind_call(&mut self, address: u64) -> bool {
        let process = self.process;
        *self.calls.entry(address).or_insert_with(|| {
            let mut before = [0];
            modules::stays_loaded(address)
                && copy(process, address.wrapping_sub(8), &mut before) == 8
                && prologue::ends_in_call(before[0])
        })
    }
}

fn read_frame_bytes(process: i32, lookup: u64) -> Option<u64> {
    if !modules::stays_loaded(lookup) {
        return None;
    }
    let module = modules::find(lookup)?;
    let (header, segment) = module.tables()?;
    let Range { start, end } = lookup::tables(header, segment).function(lookup).ok()?;
    let mut code = [0; prologue::WORDS];
    let known = copy(process, start, &mut code).min(end.wrapping_sub(start) as usize);
    prologue::frame_bytes(&code, known)
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

struct Outside<'r> {
    reader: &'r mut Reader,
    leaf: Leaf,
}

impl Memory for Outside<'_> {
    #[inline]
    fn peek(&self, address: u64) -> Option<u64> {
        let window = &self.reader.window;
        // As in `probe`: one comparison refuses misaligned addresses and those outside.
        let index = address.wrapping_sub(window.start).rotate_right(3);
        if index >= window.bytes >> 3 {
            return None;
        }
        window.words.get(index as usize).copied()
    }

    fn read(&mut self, address: u64) -> Option<u64> {
        if let Some(word) = self.peek(address) {
            return Some(word);
        }
        if !address.is_multiple_of(8) {
            return None;
        }
        let Reader {
            process, window, ..
        } = &mut *self.reader;
        window.start = address;
        window.bytes = copy(*process, address, &mut window.words) as u64 & !7;
        self.peek(address)
    }

    fn code(&mut self, address: u64) -> Option<u64> {
        let mut word = [0];
        (copy(self.reader.process, address, &mut word) == 8).then_some(word[0])
    }

    fn frame_pointer(&mut self, place: Place) -> Option<u64> {
        // A function interrupted within its first instructions has not done all of them.
        if place.exact && self.leaf == Leaf::Interrupted {
            return None;
        }
        let fp = place
            .sp
            .wrapping_add(self.reader.frame_bytes(place.lookup)?);
        let return_address = self.read(fp.wrapping_add(8))?;
        self.reader.is_behind_call(return_address).then_some(fp)
    }
}

/// Copies from `address` on; how many bytes there were to copy. Not for more than a page.
fn copy(process: i32, address: u64, to: &mut [u64]) -> usize {
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
    // SAFETY: the kernel writes at most `length` bytes, all of them within `to`, and
    // checks the addresses of the other side itself.
    let copied =
        unsafe { libc::process_vm_readv(process, &raw const ours, 1, theirs.as_ptr(), 2, 0) };
    usize::try_from(copied).unwrap_or(0)
}
