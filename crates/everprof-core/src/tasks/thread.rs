//! What a thread remembers of the tasks that it polls.
//!
//! Context: any. Invariant: all bits zero is the first state, as of all of
//! [`crate::local::Local`]. What is being polled is kept here by value, and put back by each
//! poll: coroutines that are switched within a poll may mix up whose turn it is, but leave
//! nothing that points into a stack.

use std::cell::Cell;

use super::entry::Entry;
use crate::sys;

/// Of one thread.
#[derive(Debug)]
pub(crate) struct ThreadState {
    pub(super) polled: Cell<Polled>,
    /// The store's generation, plus 1, that `tid` was asked in: a fork's child has another.
    generation: Cell<u64>,
    tid: Cell<u32>,
}

/// The innermost poll of a watched future.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polled {
    /// Its task.
    pub(super) task: Option<&'static Entry>,
    /// The stack pointer of whoever polls: the stack of its leaves ends there.
    pub(super) below: u64,
    /// Where that stands: another place for each type of futures.
    pub(super) pc: u64,
}

impl Polled {
    pub(super) const NOTHING: Self = Self {
        task: None,
        below: 0,
        pc: 0,
    };

    /// The task that is polled; 0: none.
    pub(super) fn id(self) -> u64 {
        // Relaxed: the number of a task that is being polled does not change.
        self.task
            .map_or(0, |task| task.id.load(crate::sync::Ordering::Relaxed))
    }
}

impl ThreadState {
    pub(crate) const fn new() -> Self {
        Self {
            polled: Cell::new(Polled::NOTHING),
            generation: Cell::new(0),
            tid: Cell::new(0),
        }
    }

    /// The thread as the kernel knows it. `generation` is the store's, plus 1.
    #[inline]
    pub(super) fn tid(&self, generation: u64) -> u32 {
        if self.generation.get() != generation {
            self.ask_tid(generation);
        }
        self.tid.get()
    }

    #[cold]
    fn ask_tid(&self, generation: u64) {
        self.tid.set(sys::thread_id());
        self.generation.set(generation);
    }

    /// Whether this is the thread that was known as `tid` in `generation`, the store's plus 1.
    /// One that has not asked since then is not; the copy of it in a fork's child, where nobody
    /// else is, still is.
    #[inline]
    pub(super) fn is(&self, tid: u32, generation: u64) -> bool {
        self.tid.get() == tid && self.generation.get() == generation
    }
}
