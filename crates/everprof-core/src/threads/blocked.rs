//! Threads that wait in an operation which is recorded: no need to look at them.
//!
//! Context: cold. Invariant: what is told was true at one instant of the collection.

/// A wait that was recorded before its thread fell asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedWait {
    /// Nanoseconds of the monotonic clock when it began.
    pub since_nanos: u64,
    /// What is waited in, as the recorder of waits numbers it.
    pub operation: u8,
    /// Address of the lock or word that is waited for; 0: none.
    pub address: u64,
}

/// The wait that `thread` is in, its stack written to `out` leaf first, and how many
/// entries that are. `None`: it is in none that is recorded.
///
/// Nobody records waits yet: this is the place where the recorder will be asked.
pub(super) fn recorded_wait(_thread: u32, _out: &mut [u64]) -> Option<(RecordedWait, usize)> {
    None
}
