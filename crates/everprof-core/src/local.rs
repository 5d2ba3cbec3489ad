//! Per-thread state of the recorders.
//!
//! Context: hot. Invariant: all bits zero is the valid first state, so that
//! the block can live in `.tbss`, needs no initialiser and no destructor, and
//! may be touched before `main`, in TLS destructors and after them.

use std::cell::Cell;

use crate::labels::Labels;
#[cfg(not(everprof_loom))]
use crate::spawn::Own;
use crate::stack::ThreadMemory;
#[cfg(not(everprof_loom))]
use crate::tasks;
#[cfg(not(everprof_loom))]
use crate::trace;
use crate::waits::ThreadState;

#[cfg_attr(feature = "preload", path = "local/initial_exec.rs")]
#[cfg_attr(not(feature = "preload"), path = "local/native.rs")]
mod storage;
pub use storage::with;

/// What one thread's recorders remember between events.
///
/// The first line of the processor's cache is what allocations use, the second what polls of
/// watched futures use.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Local {
    /// Bytes until the next look at the sampler. Owned by the hot path: it
    /// subtracts each allocation's size and enters the sampled path when this
    /// goes below 0.
    pub countdown: Cell<i64>,
    /// State of the thread's generator; 0 until the first draw seeds it.
    pub(crate) random: Cell<u64>,
    /// The period that the gap under way was drawn with; 0: off, or none yet.
    pub(crate) gap_period: Cell<u64>,
    /// The stack pointer of the recorder at work on this thread; 0: none.
    pub(crate) busy_below: Cell<u64>,
    /// Samples in a row that were due while that recorder seemed to be at work.
    pub(crate) nested: Cell<u32>,
    /// The countdown ends at a sample, not at a place to look again.
    pub(crate) armed: Cell<bool>,
    /// This thread is everprof's own: nothing it does is recorded.
    pub(crate) excluded: Cell<bool>,
    /// The CPU profile's session that has seen this thread, in the upper half, and the
    /// timer it is seen by, in the lower. 0: none.
    pub(crate) cpu_timer: Cell<u64>,
    /// The labels in force. One word: handlers see one set or the other.
    pub(crate) labels: Cell<Labels>,
    /// Which watched future is being polled.
    #[cfg(not(everprof_loom))]
    pub(crate) tasks: tasks::ThreadState,
    /// What the stack walk remembers.
    pub(crate) stack: ThreadMemory,
    /// The thread's record of its creation and end.
    #[cfg(not(everprof_loom))]
    pub(crate) thread: Cell<Own>,
    /// What the recorder of waits remembers.
    pub(crate) waits: ThreadState,
    /// What the tracer remembers.
    #[cfg(not(everprof_loom))]
    pub(crate) trace: trace::ThreadState,
}

impl Local {
    /// The state before the first event. The same as all bits zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            countdown: Cell::new(0),
            random: Cell::new(0),
            gap_period: Cell::new(0),
            busy_below: Cell::new(0),
            nested: Cell::new(0),
            armed: Cell::new(false),
            excluded: Cell::new(false),
            cpu_timer: Cell::new(0),
            labels: Cell::new(Labels::NONE),
            #[cfg(not(everprof_loom))]
            thread: Cell::new(Own::NONE),
            stack: ThreadMemory::new(),
            waits: ThreadState::new(),
            #[cfg(not(everprof_loom))]
            tasks: tasks::ThreadState::new(),
            #[cfg(not(everprof_loom))]
            trace: trace::ThreadState::new(),
        }
    }

    /// Bytes until the sampler's next look: the countdown, unless a trace has parked it.
    #[cfg(not(everprof_loom))]
    pub(crate) fn left(&self) -> i64 {
        if self.trace.traced.get() {
            self.trace.parked.get()
        } else {
            self.countdown.get()
        }
    }

    /// Sets what [`Local::left`] tells.
    #[cfg(not(everprof_loom))]
    pub(crate) fn set_left(&self, bytes: i64) {
        if self.trace.traced.get() {
            self.trace.parked.set(bytes);
        } else {
            self.countdown.set(bytes);
        }
    }

    /// The countdown: models have no traces.
    #[cfg(everprof_loom)]
    pub(crate) fn left(&self) -> i64 {
        self.countdown.get()
    }

    /// As above.
    #[cfg(everprof_loom)]
    pub(crate) fn set_left(&self, bytes: i64) {
        self.countdown.set(bytes);
    }

    /// Puts labels in force on a thread that a test stands for.
    #[doc(hidden)]
    pub fn set_labels(&self, labels: Labels) {
        self.labels.set(labels);
    }

    /// A thread's first state, with a generator that begins at `seed`: what a
    /// test records can be had again.
    #[doc(hidden)]
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        let local = Self::new();
        local.random.set(seed.max(1));
        local
    }
}

impl Default for Local {
    fn default() -> Self {
        Self::new()
    }
}
