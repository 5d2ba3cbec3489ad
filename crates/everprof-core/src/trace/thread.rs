//! What a thread knows of the trace.
//!
//! Context: sampled. Invariant: while `traced`, the countdown of the fast path is below 0
//! before and after each event, and `parked` has the sampler's true one.
//!
//! ```text
//! not traced: countdown ────── the sampler's
//! traced:     countdown = −1   parked ────── the sampler's
//! ```
//!
//! So each allocation is due, the sampler is asked only when its own count has run out, and
//! the heap profile stays what it would be. Handlers may come between any two steps; each
//! order of stores below leaves them either due or not traced, never past by.

use std::cell::Cell;

use super::buffers::Own;

/// Each thread's. All zero at first: not traced.
#[derive(Debug)]
pub struct ThreadState {
    /// Bytes until the sampler's next look, while traced.
    pub(crate) parked: Cell<i64>,
    /// This thread's allocations are all due.
    pub(crate) traced: Cell<bool>,
    /// An event is being written; how many were refused because of that. 0: none is.
    pub(crate) writing: Cell<u32>,
    /// Which making of the buffers `own` belongs to.
    pub(crate) made: Cell<u32>,
    /// The thread's buffer.
    pub(crate) own: Own,
}

/// The countdown of a traced thread. Below 0, so that an allocation of no bytes is due as
/// well; just below, so that no size makes it wrap.
pub(crate) const ALWAYS_DUE: i64 = -1;

/// Events refused in a row from which on the writing is taken for abandoned: a handler came
/// in the midst of it and left by longjmp. No handler allocates so often.
const MOST_REFUSED: u32 = 4096;

impl ThreadState {
    /// That of a thread which no trace has seen.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            parked: Cell::new(0),
            traced: Cell::new(false),
            writing: Cell::new(0),
            made: Cell::new(0),
            own: Own::new(),
        }
    }

    /// Whether the thread may write an event now: it is not in the midst of one.
    pub(crate) fn begin_writing(&self) -> bool {
        let writing = self.writing.get();
        if writing != 0 && writing < MOST_REFUSED {
            self.writing.set(writing + 1);
            return false;
        }
        self.writing.set(1);
        true
    }

    pub(crate) fn end_writing(&self) {
        self.writing.set(0);
    }
}

impl Default for ThreadState {
    fn default() -> Self {
        Self::new()
    }
}
