//! What one thread's recorder of waits remembers between waits.
//!
//! Context: sampled. Invariant: all bits zero is the first state, as of all of
//! [`crate::local::Local`]. What belongs to an arena is void when `generation` is
//! not the store's: a fork's child has another id, and none of its parent's slots.

use std::cell::Cell;

use super::turns::Turns;

/// Of one thread.
#[derive(Debug)]
pub(crate) struct ThreadState {
    /// The store's generation, plus 1, that the others belong to; 0: none yet.
    pub(crate) generation: Cell<u64>,
    /// The thread as the kernel knows it.
    pub(crate) tid: Cell<u32>,
    /// Where its innermost slot stands, claimed or not; 0: it has had none.
    pub(crate) slot: Cell<u32>,
    /// When the last yield ended; 0: none did. And where its caller's stack was.
    pub(crate) yielded_nanos: Cell<u64>,
    pub(crate) yielded_sp: Cell<u64>,
    /// Which wakes ended its last waits.
    pub(crate) turns: Cell<Turns>,
    /// Whether there are any: most threads never wait on a word of their own.
    pub(crate) has_turns: Cell<bool>,
}

impl ThreadState {
    pub(crate) const fn new() -> Self {
        Self {
            generation: Cell::new(0),
            tid: Cell::new(0),
            slot: Cell::new(0),
            yielded_nanos: Cell::new(0),
            yielded_sp: Cell::new(0),
            turns: Cell::new(Turns::NONE),
            has_turns: Cell::new(false),
        }
    }
}
