//! What is known of the code that other threads' frames are in.
//!
//! Context: cold. Invariant: whatever could be unloaded is read through the kernel, and
//! what was read of it is kept only if a thread with a frame in it slept meanwhile.
//!
//! Many threads sleep in few places, and each fact costs as much as a stack: hence the
//! memory. It lives as long as a dump. That a module is replaced by another at the same
//! place within that time, and the same link map be given to it, is not noticed: a stack
//! would be wrong, nothing would break.

use core::ops::Range;
use std::collections::HashMap;

use super::super::lookup;
use super::copied::Copied;
use super::{prologue, word};
use crate::modules::loaded as modules;
use crate::stack::cfi::Tables;
use crate::stack::rules::Rule;
use crate::sys::copy;

#[derive(Debug)]
pub(super) struct Code {
    process: i32,
    copied: Vec<Copied>,
    /// How many of those copies are known to be good.
    kept: usize,
    /// Bytes from stack to frame pointer in the middle of the call at an address.
    frames: HashMap<u64, Option<u64>>,
    /// Addresses that were asked about: whether they are behind a call.
    calls: HashMap<u64, bool>,
}

impl Code {
    pub(super) fn new(process: i32) -> Self {
        Self {
            process,
            copied: Vec::new(),
            kept: 0,
            frames: HashMap::new(),
            calls: HashMap::new(),
        }
    }

    /// Keeps what was copied lately, or forgets it.
    pub(super) fn keep(&mut self, keep: bool) {
        if keep {
            self.kept = self.copied.len();
        } else if self.kept != self.copied.len() {
            self.copied.truncate(self.kept);
            self.frames.clear();
            self.calls.clear();
        }
    }

    /// The rule for an address in a module that could be unloaded.
    pub(super) fn rule(&mut self, lookup: u64) -> Rule {
        let Some(object) = modules::object_now(lookup) else {
            return if modules::can_tell() {
                Rule::NOT_COVERED
            } else {
                Rule::ENDS
            };
        };
        match self.copy_of(&object) {
            Some(copied) => copied.rule(lookup),
            None => Rule::ENDS,
        }
    }

    fn copy_of(&mut self, object: &modules::Object) -> Option<&mut Copied> {
        let known = self.copied.iter().position(|copied| copied.is_of(object));
        let index = match known {
            Some(index) => index,
            None => {
                self.copied.push(Copied::new(self.process, object)?);
                self.copied.len() - 1
            }
        };
        self.copied.get_mut(index)
    }

    /// Bytes from the stack pointer to the frame pointer, in the middle of the call that
    /// `lookup` is in.
    pub(super) fn frame_bytes(&mut self, lookup: u64) -> Option<u64> {
        if let Some(known) = self.frames.get(&lookup) {
            return *known;
        }
        let found = self.read_frame_bytes(lookup);
        self.frames.insert(lookup, found);
        found
    }

    fn read_frame_bytes(&mut self, lookup: u64) -> Option<u64> {
        let function = |tables: &Tables<'_>| tables.function(lookup).ok();
        let Range { start, end } = if modules::stays_loaded(lookup) {
            let module = modules::find(lookup)?;
            let (header, segment) = module.tables()?;
            function(&lookup::tables(header, segment))?
        } else {
            let object = modules::object_now(lookup)?;
            function(&self.copy_of(&object)?.tables())?
        };
        let mut code = [0; prologue::WORDS];
        let known = copy(self.process, start, &mut code).min(end.wrapping_sub(start) as usize);
        prologue::frame_bytes(&code, known)
    }

    /// Whether a call ends at `address`.
    pub(super) fn is_behind_call(&mut self, address: u64) -> bool {
        let process = self.process;
        *self.calls.entry(address).or_insert_with(|| {
            let in_module =
                modules::stays_loaded(address) || modules::object_now(address).is_some();
            in_module && word(process, address.wrapping_sub(8)).is_some_and(prologue::ends_in_call)
        })
    }
}
