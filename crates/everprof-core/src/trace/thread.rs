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
    /// An event is being written.
    writing: Cell<bool>,
    /// Events that were refused because of that, and how many of them were told of. Counted by
    /// handlers, told by those whom they interrupted.
    refused: Cell<u64>,
    told: Cell<u64>,
    /// Which making of the buffers `own` belongs to.
    pub(crate) made: Cell<u32>,
    /// The thread's buffer.
    pub(crate) own: Own,
}

/// The countdown of a traced thread. Below 0, so that an allocation of no bytes is due as
/// well; just below, so that no size makes it wrap.
pub(crate) const ALWAYS_DUE: i64 = -1;

/// Events refused in a row from which on the writing is taken for abandoned: a handler came
/// in the midst of it and left by longjmp. Should it be at work after all (the handler
/// allocates that often), nothing breaks: each of the two writes to a buffer of its own.
const MOST_REFUSED: u64 = 4096;

impl ThreadState {
    /// That of a thread which no trace has seen.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            parked: Cell::new(0),
            traced: Cell::new(false),
            writing: Cell::new(false),
            refused: Cell::new(0),
            told: Cell::new(0),
            made: Cell::new(0),
            own: Own::new(),
        }
    }

    /// Whether the thread may write an event now: it is not in the midst of one. Else the
    /// event is counted.
    pub(crate) fn begin_writing(&self) -> bool {
        if self.writing.get() {
            let refused = self.refused.get();
            if refused.wrapping_sub(self.told.get()) < MOST_REFUSED {
                self.refused.set(refused.wrapping_add(1));
                return false;
            }
            // Nobody knows how far the buffer is written: it is left to its reader.
            self.own.forget();
        }
        self.writing.set(true);
        true
    }

    /// Events that were refused since this was last asked.
    pub(crate) fn refused_meanwhile(&self) -> u64 {
        let refused = self.refused.get();
        refused.wrapping_sub(self.told.replace(refused))
    }

    pub(crate) fn end_writing(&self) {
        self.writing.set(false);
    }
}

impl Default for ThreadState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_the_midst_of_another_are_counted_once() {
        let state = ThreadState::new();
        assert!(state.begin_writing());
        assert!(!state.begin_writing() && !state.begin_writing());
        assert_eq!(state.refused_meanwhile(), 2);
        // Between the count and the end: told of the next time.
        assert!(!state.begin_writing());
        state.end_writing();
        assert!(state.begin_writing());
        assert_eq!(state.refused_meanwhile(), 1);
        assert_eq!(state.refused_meanwhile(), 0);
    }
}
