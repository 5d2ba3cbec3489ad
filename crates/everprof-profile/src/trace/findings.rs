//! Findings: what became of a trace's objects, all together and site by site.
//!
//! Context: cold. Invariant: values; [`Objects`](super::Objects) counts them.

use super::histogram::Histogram;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Of the part of the trace that was looked at.
    pub counts: Counts,
    /// Sites with anything to tell.
    pub sites: Vec<Site>,
    /// Sums of all sites.
    pub allocated: Amount,
    /// In use at the end.
    pub in_use: Amount,
    /// In use when most bytes were.
    pub at_peak: Amount,
    /// When that was, in nanoseconds from the trace's start.
    pub peak_nanos: u64,
    /// Freed before the thread's next allocation.
    pub temporary: Amount,
    /// Reallocations.
    pub reallocations: u64,
    /// Those of them after which the object was elsewhere.
    pub moved: u64,
    /// Bytes copied for them, at most.
    pub copied_bytes: u64,
    /// Frees of objects whose allocation is not in the trace, or was not wanted.
    pub unknown_frees: u64,
    /// Objects that ended because another one was allocated in their place: their free is
    /// not in the trace.
    pub displaced: u64,
    /// The time of the first and the last event, in nanoseconds from the trace's start.
    pub from_nanos: u64,
    /// See `from_nanos`.
    pub until_nanos: u64,
}

/// What a trace has of each kind, whether wanted or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events of all kinds.
    pub events: u64,
    /// Allocations.
    pub allocs: u64,
    /// Frees.
    pub frees: u64,
    /// Reallocations.
    pub reallocs: u64,
    /// Allocations in managed heaps.
    pub managed_allocs: u64,
    /// Frees in managed heaps.
    pub managed_frees: u64,
    /// Steps of managed heaps' clocks.
    pub cycles: u64,
    /// Events that had no room.
    pub lost: u64,
}

/// What became of the objects that one stack allocated (of one type, in a managed heap).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The stack, as a number for the trace's tables.
    pub stack: u32,
    /// The type; 0 if there is none.
    pub type_id: u32,
    /// Allocated, or reallocated to.
    pub allocated: Amount,
    /// In use at the end.
    pub in_use: Amount,
    /// In use when most bytes were, at all sites.
    pub at_peak: Amount,
    /// Freed before the thread's next allocation.
    pub temporary: Amount,
    /// Reallocations that this stack asked for.
    pub reallocations: u64,
    /// Those of them after which the object was elsewhere.
    pub moved: u64,
    /// Bytes copied for them, at most.
    pub copied_bytes: u64,
    /// The most reallocations that one of its objects has been through.
    pub longest_chain: u16,
    /// How long objects lived that were freed or reallocated, if that was wanted.
    pub lifetimes: Histogram,
}

impl Site {
    /// Whether there is anything to tell of it.
    pub(super) fn tells_something(&self) -> bool {
        self.allocated.objects > 0
            || self.in_use.objects > 0
            || self.at_peak.objects > 0
            || self.lifetimes.count() > 0
            || self.temporary.objects > 0
    }
}

/// A count of objects and of their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// How much was asked for them.
    pub bytes: u64,
}

impl Amount {
    #[inline]
    pub(super) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    #[inline]
    pub(super) fn take(&mut self, bytes: u64) {
        self.objects -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
