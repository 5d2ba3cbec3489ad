//! A stack that is read up to a frame and no further.
//!
//! Context: signal. Invariant: no word at or above the bound is read. A frame's return address
//! stands below its caller's stack pointer, so that the walk ends at the frame whose stack
//! pointer the bound is: that one's own return address is above it.

use super::probe::Readable;
use crate::stack::walk::Memory;

/// One walk's view of the memory, up to the bound.
#[derive(Debug)]
pub(crate) struct Below<'t> {
    inner: Readable<'t>,
    bound: u64,
    was_reached: bool,
}

impl<'t> Below<'t> {
    #[inline(always)]
    pub(crate) fn new(inner: Readable<'t>, bound: u64) -> Self {
        Self {
            inner,
            bound,
            was_reached: false,
        }
    }

    /// Whether the walk wanted to go on beyond the bound.
    #[inline(always)]
    pub(crate) fn was_reached(&self) -> bool {
        self.was_reached
    }
}

impl Memory for Below<'_> {
    #[inline(always)]
    fn peek(&self, address: u64) -> Option<u64> {
        if address >= self.bound {
            return None;
        }
        self.inner.peek(address)
    }

    #[inline(always)]
    fn read(&mut self, address: u64) -> Option<u64> {
        if address >= self.bound {
            self.was_reached = true;
            return None;
        }
        self.inner.read(address)
    }
}
