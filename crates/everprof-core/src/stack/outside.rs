//! The stack of another thread, which is asleep, read from outside.
//!
//! Context: cold. Invariant: nothing of another thread is read through a reference or
//! a plain load. The kernel copies it out (`process_vm_readv` on this very process, in
//! `sys::copy`), so that memory which is unmapped or written meanwhile is an error or an old value,
//! never a fault. Whether the thread slept all the while is for the caller to see to.
//!
//! Of a thread that was looked at are known the stack pointer and the pc
//! (/proc/self/task/TID/syscall), but not the frame pointer, nor the link register; of one
//! whose wait is recorded all four. What follows from the former:
//!
//! - Frames based on the stack pointer are walked as always, and if one of them has
//!   saved the frame pointer, it is known from there on.
//! - A frame may be based on a frame pointer that nobody has saved yet: std is built with
//!   frame pointers, and its callees in the C library need not touch them. How far such
//!   a frame reaches is read from its function's first instructions (`prologue`), and
//!   believed if what stands there as a return address is one: behind a call.
//!   Else the stack ends there, and says so.
//! - A module that could be unloaded is kept by no frame on *this* thread's stack, so
//!   that its tables are copied out too before they are read (`copied`).

use core::cell::RefCell;

use super::lookup::Lookup;
use crate::modules::loaded as modules;
use crate::stack::rules::Rule;
use crate::stack::walk::{Memory, Place, Rules, UNKNOWN, walk_outside};
use crate::stack::{Captured, Registers, depth_limit};
use crate::sys::{self, copy};
use code::Code;

mod code;
mod copied;
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

/// Reads stacks, one after the other, and remembers what it learned of the code.
#[derive(Debug)]
pub(crate) struct Reader {
    process: i32,
    window: Window,
    code: RefCell<Code>,
}

/// A page's worth of the other thread's stack.
#[derive(Debug)]
struct Window {
    words: [u64; 512],
    start: u64,
    bytes: u64,
}

/// What was copied of a stack is not left behind in memory that becomes the program's
/// again: whoever looks for the holder of a lock would find it there.
impl Drop for Window {
    fn drop(&mut self) {
        self.words.fill(0);
        // Nobody reads it, as far as the compiler knows.
        std::hint::black_box(&mut self.words);
    }
}

impl Reader {
    /// For this process.
    pub(crate) fn new() -> Self {
        let process = sys::process_id().cast_signed();
        Self {
            process,
            window: Window {
                words: [0; 512],
                start: 0,
                bytes: 0,
            },
            code: RefCell::new(Code::new(process)),
        }
    }

    /// Writes the stack of a thread that sleeps at `pc` and `sp` to `out`, leaf first.
    /// Whoever calls says afterwards whether it [`slept`](Reader::slept).
    pub(crate) fn capture(
        &mut self,
        (pc, sp): (u64, u64),
        leaf: Leaf,
        out: &mut [u64],
    ) -> Captured {
        let registers = Registers {
            pc,
            sp,
            fp: UNKNOWN,
            lr: 0,
        };
        self.walk(&registers, leaf, out)
    }

    /// As [`Reader::capture`], of a thread whose frame with these registers stands still.
    pub(crate) fn capture_from(&mut self, registers: &Registers, out: &mut [u64]) -> Captured {
        self.walk(registers, Leaf::Interrupted, out)
    }

    fn walk(&mut self, registers: &Registers, leaf: Leaf, out: &mut [u64]) -> Captured {
        self.window.bytes = 0;
        let limit = depth_limit().min(out.len());
        let out = out.get_mut(..limit).unwrap_or(&mut []);
        let mut rules = CopiedRules {
            lookup: Lookup::new(),
            code: &self.code,
        };
        let mut memory = Outside {
            process: self.process,
            window: &mut self.window,
            code: &self.code,
            leaf,
        };
        walk_outside(registers, &mut memory, &mut rules, out)
    }

    /// The thread last captured slept all the while, or it did not: then what was copied
    /// on its account may have been of a module on its way out.
    pub(crate) fn slept(&mut self, slept: bool) {
        self.code.get_mut().keep(slept);
    }
}

/// The shared rules of modules that stay; of others, from their copies.
struct CopiedRules<'r> {
    lookup: Lookup,
    code: &'r RefCell<Code>,
}

impl Rules for CopiedRules<'_> {
    fn rule(&mut self, lookup: u64, _trusted: bool) -> Rule {
        if modules::stays_loaded(lookup) {
            return self.lookup.rule(lookup, false);
        }
        match self.code.try_borrow_mut() {
            Ok(mut code) => code.rule(lookup),
            // Never: the walk asks for one thing at a time.
            Err(_) => Rule::ENDS,
        }
    }
}

struct Outside<'r> {
    process: i32,
    window: &'r mut Window,
    code: &'r RefCell<Code>,
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
        // The rest of the page, unless little is left of it: each page costs the kernel
        // another walk through its tables (1 µs for one, 1.5 for two).
        let rest = (PAGE - address % PAGE) as usize / 8;
        let window = &mut *self.window;
        let wanted = if rest >= 64 { rest } else { window.words.len() };
        let words = window.words.get_mut(..wanted).unwrap_or(&mut []);
        window.start = address;
        window.bytes = copy(self.process, address, words) as u64 & !7;
        self.peek(address)
    }

    fn code(&mut self, address: u64) -> Option<u64> {
        word(self.process, address)
    }

    fn frame_pointer(&mut self, place: Place) -> Option<u64> {
        // A function interrupted within its first instructions has not done all of them.
        if place.exact && self.leaf == Leaf::Interrupted {
            return None;
        }
        let code = self.code;
        let bytes = code.try_borrow_mut().ok()?.frame_bytes(place.lookup)?;
        let fp = place.sp.wrapping_add(bytes);
        let return_address = self.read(fp.wrapping_add(8))?;
        let behind_call = code.try_borrow_mut().ok()?.is_behind_call(return_address);
        behind_call.then_some(fp)
    }
}

/// Smallest page of both architectures.
const PAGE: u64 = 4096;

/// The word at `address`, at any alignment.
fn word(process: i32, address: u64) -> Option<u64> {
    let mut word = [0];
    (copy(process, address, &mut word) == 8).then_some(word[0])
}
