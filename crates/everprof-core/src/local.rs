//! Per-thread state of the recorders.
//!
//! Context: hot. Invariant: all bits zero is the valid first state, so that
//! the block can live in `.tbss`, needs no initialiser and no destructor, and
//! may be touched before `main`, in TLS destructors and after them.

use std::cell::Cell;

#[cfg_attr(feature = "preload", path = "local/initial_exec.rs")]
#[cfg_attr(not(feature = "preload"), path = "local/native.rs")]
mod storage;
pub use storage::with;

/// What one thread's recorders remember between events.
#[derive(Debug)]
#[repr(C)]
pub struct Local {
    /// Bytes until the next heap sample. Owned by the hot path: it subtracts
    /// each allocation's size and enters the sampled path when this goes below 0.
    pub countdown: Cell<i64>,
    /// State of the thread's generator; 0 until the first sample seeds it.
    pub(crate) random: Cell<u64>,
    /// This thread is everprof's own: nothing it does is recorded.
    pub(crate) excluded: Cell<bool>,
}

impl Local {
    /// The state before the first event. The same as all bits zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            countdown: Cell::new(0),
            random: Cell::new(0),
            excluded: Cell::new(false),
        }
    }
}
