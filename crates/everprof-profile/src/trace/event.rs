//! Event: what a program did, one of it at a time.
//!
//! Context: cold.
//! Invariant: plain values: an event borrows nothing and can be kept.

/// What one thread did at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in the units of the trace: [`Program::nanos`](super::Program::nanos) tells the
    /// nanoseconds since its start.
    pub time: u64,
    /// Who, as a number for [`Tables::thread`](super::Tables::thread).
    pub thread: u32,
    /// What.
    pub what: What,
}

impl Event {
    /// A place for the first event.
    pub(crate) const NONE: Event = Event {
        time: 0,
        thread: 0,
        what: What::Lost { events: 0 },
    };
}

/// What was done. Stacks, heaps and types are numbers for [`Tables`](super::Tables).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// An object came to be.
    Alloc {
        /// Who asked for it; 0 if that was not recorded.
        stack: u32,
        /// How much was asked for.
        size_bytes: u64,
        /// Where it is.
        address: u64,
    },
    /// An object went.
    Free {
        /// Where it was.
        address: u64,
    },
    /// An object became another, perhaps elsewhere.
    Realloc {
        /// Where it was.
        old_address: u64,
        /// Who asked for it.
        stack: u32,
        /// How much was asked for.
        size_bytes: u64,
        /// Where it is now.
        address: u64,
        /// How long after the event's time it was there, in the same units; 0 if it is
        /// where it was.
        took: u64,
    },
    /// An object came to be in a managed heap.
    ManagedAlloc {
        /// Which heap; from 1.
        heap: u32,
        /// Of which type; 0 if that is not known.
        type_id: u32,
        /// Who asked for it.
        stack: u32,
        /// How much was asked for.
        size_bytes: u64,
        /// Where it is.
        address: u64,
    },
    /// An object of a managed heap went.
    ManagedFree {
        /// Which heap.
        heap: u32,
        /// By the sweep, and not because the program said so.
        is_swept: bool,
        /// Where it was.
        address: u64,
    },
    /// A managed heap's clock went on. What the other threads were doing may have been
    /// recorded with it.
    Cycle {
        /// Which heap.
        heap: u32,
        /// How.
        step: Step,
    },
    /// There was no room for so many events of this thread, since the event before.
    Lost {
        /// How many.
        events: u64,
    },
}

/// A step of a managed heap's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Marking has ended: the next cycle begins.
    NextCycle,
    /// The cycle that ended is published.
    Flush,
    /// Sweeping has ended.
    PostSweep,
    /// A step that this version does not know.
    Other(u32),
}

impl Step {
    /// The number that is written.
    pub(crate) fn number(self) -> u32 {
        match self {
            Step::NextCycle => 0,
            Step::Flush => 1,
            Step::PostSweep => 2,
            Step::Other(number) => number,
        }
    }

    /// The step of a number.
    pub(crate) fn of(number: u32) -> Step {
        match number {
            0 => Step::NextCycle,
            1 => Step::Flush,
            2 => Step::PostSweep,
            number => Step::Other(number),
        }
    }
}

/// What another thread was doing when a collection took a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// Which thread.
    pub thread: u32,
    /// Its stack.
    pub stack: u32,
}

// A merge holds one event at a time, but whoever collects them holds many.
const _: () = assert!(size_of::<Event>() <= 56);
