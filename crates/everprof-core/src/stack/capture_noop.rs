//! Capture where nothing is known about stacks: none.
//!
//! Context: any. Twin of `capture.rs`.

use core::cell::Cell;
use core::ops::Range;

use super::{Captured, Registers, StackEnd};

/// What a thread remembers between walks. All bits zero is its first state.
#[derive(Debug, Default)]
pub struct ThreadMemory {
    unused: Cell<u32>,
}

impl ThreadMemory {
    /// The state before the first walk.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            unused: Cell::new(0),
        }
    }

    /// No stack is known.
    #[cfg(not(everprof_loom))]
    pub(crate) fn above(&self, _sp: u64) -> Option<u64> {
        None
    }
}

/// Writes no stack.
#[must_use]
#[cfg(not(everprof_loom))]
pub(crate) fn capture_below(
    registers: &Registers,
    memory: &ThreadMemory,
    out: &mut [u64],
    below: u64,
) -> Captured {
    let _ = below;
    capture(registers, memory, out, &(0..0))
}

/// No stack has a path.
#[cfg(not(everprof_loom))]
pub(crate) mod path {
    use super::{Registers, ThreadMemory};
    use crate::sync::AtomicU64;

    pub(crate) const fn most_words(_frames: usize) -> usize {
        0
    }

    pub(crate) fn holds(
        _path: &[AtomicU64],
        _registers: &Registers,
        _memory: &ThreadMemory,
        _below: u64,
    ) -> bool {
        false
    }

    pub(crate) fn make(
        _registers: &Registers,
        _memory: &ThreadMemory,
        _upto: Upto,
        _stack: &[u64],
        _out: &mut [u64],
    ) -> Option<usize> {
        None
    }

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Upto {
        Frame(u64),
        Root,
    }

    pub(crate) fn extent(_path: &[AtomicU64]) -> (u64, usize) {
        (0, 0)
    }
}

/// Writes no stack.
#[must_use]
pub fn capture(
    _registers: &Registers,
    memory: &ThreadMemory,
    _out: &mut [u64],
    _skip: &Range<u64>,
) -> Captured {
    memory.unused.set(0);
    Captured {
        depth: 0,
        end: StackEnd::NoWalk,
    }
}
