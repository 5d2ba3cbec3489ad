//! Wanted: what is known of a stack before it is captured.
//!
//! Context: sampled. Invariant: of one stack `how` and `labels` alone tell buckets apart; all
//! else says where to look for it.

use crate::stack::Registers;

/// Why a stack was captured; with it buckets are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum How {
    /// A leaf keeps a waker.
    Awaits = 1,
    /// A leaf woke the task that it is of, in the midst of its poll.
    WakesItself = 2,
    /// Somebody made the task.
    Makes = 3,
}

impl How {
    /// The one with this number, as stored; `None`: lost, or of a later version.
    #[must_use]
    pub fn of_number(number: u64) -> Option<Self> {
        [Self::Awaits, Self::WakesItself, Self::Makes]
            .into_iter()
            .find(|how| *how as u64 == number)
    }
}

/// What is known of a stack that is to be captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'r> {
    pub(super) registers: &'r Registers,
    /// The stack pointer of the frame that it ends at.
    pub(super) below: u64,
    /// What kind of task it is of, for short.
    pub(super) whose: u64,
    pub(super) how: How,
    pub(super) labels: u32,
    /// The store's making.
    pub(super) made: u32,
}
