//! The heap's recorder: sampler, stack, table and in-use store joined.

use crate::stack::Registers;

/// Records allocations and frees.
#[derive(Debug)]
pub struct Recorder {}

/// A sampled allocation between the decision and the inner allocator's answer.
/// Dropped without [`Ticket::commit`], nothing is recorded.
#[derive(Debug)]
#[must_use]
pub struct Ticket<'a> {
    recorder: &'a Recorder,
}

/// A sampled object taken out of the in-use store. Dropped: it was freed.
#[derive(Debug)]
#[must_use]
pub struct Taken<'a> {
    recorder: &'a Recorder,
}

impl Recorder {
    /// An idle recorder.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {}
    }

    /// Decides whether the allocation that made the countdown run out is
    /// recorded; captures its stack and finds its bucket if so.
    #[cold]
    pub fn sample(&self, size_bytes: usize, registers: &Registers) -> Option<Ticket<'_>> {
        let _ = (size_bytes, registers);
        None
    }

    /// False: the object at `address` is certainly not a sampled one.
    #[inline(always)]
    pub fn may_be_sampled(&self, address: usize) -> bool {
        let _ = address;
        false
    }

    /// Takes the sampled object at `address` out of the in-use store.
    #[cold]
    pub fn take(&self, address: usize) -> Option<Taken<'_>> {
        let _ = address;
        None
    }

    /// Mean bytes between samples; 0 is off.
    pub fn period(&self) -> u64 {
        0
    }

    /// Sets the mean bytes between samples, from now on; 0 is off.
    pub fn set_period(&self, bytes: u64) {
        let _ = bytes;
    }
}

impl Ticket<'_> {
    /// The object stands at `address`, `shift` bytes into the inner block.
    pub fn commit(self, address: usize, shift: usize) {
        let _ = (self.recorder, address, shift);
    }
}

impl Taken<'_> {
    /// How far into the inner block the object stands, as given to `commit`.
    #[must_use]
    pub fn shift(&self) -> usize {
        let _ = self.recorder;
        0
    }

    /// The object was not freed after all (a realloc that failed).
    pub fn restore(self) {}
}
