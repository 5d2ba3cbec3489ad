//! Wanted: which objects of a trace to look at, and which part of it.
//!
//! Context: cold.
//! Invariant: an object is wanted or not from its allocation on; what becomes of it does not
//! change that.

use std::ops::{Range, RangeInclusive};

use super::tables::{Tables, Thread};

/// Which objects to look at, and when. By default all that the program allocated, for as
/// long as the trace lasts.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Objects of this managed heap; of none means the program's own allocator. The two
    /// are never looked at together: a managed heap lies within memory that the program
    /// allocated.
    pub heap: Option<u32>,
    /// Objects of these sizes, in bytes.
    pub sizes: RangeInclusive<u64>,
    /// Objects that a thread of this name, or of this number in the system, allocated.
    pub thread: Option<String>,
    /// Objects whose stack's number is true here; stacks that are not here are wanted.
    pub stacks: Option<Vec<bool>>,
    /// The part of the trace to look at, in nanoseconds from its start. What was allocated
    /// before it and is in use counts as in use.
    pub nanos: Range<u64>,
    /// Whether to keep how long objects live.
    pub lifetimes: bool,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            heap: None,
            sizes: 0..=u64::MAX,
            thread: None,
            stacks: None,
            nanos: 0..u64::MAX,
            lifetimes: false,
        }
    }
}

impl Wanted {
    /// Whether it is everything that the program allocated.
    pub fn is_everything(&self) -> bool {
        let all = Wanted::default();
        self.heap.is_none()
            && self.sizes == all.sizes
            && self.thread.is_none()
            && self.stacks.is_none()
            && self.nanos == all.nanos
    }

    /// Whether an object is wanted.
    #[inline]
    pub fn takes(&self, tables: &Tables, thread: u32, stack: u32, size_bytes: u64) -> bool {
        self.sizes.contains(&size_bytes)
            && self.takes_stack(stack)
            && match &self.thread {
                None => true,
                Some(name) => tables.thread(thread).is_some_and(|of| is_called(of, name)),
            }
    }

    /// Whether the threads that are known so far have one that is wanted.
    pub fn has_thread(&self, tables: &Tables) -> bool {
        let is_wanted = |name: &String| tables.threads().iter().any(|of| is_called(of, name));
        self.thread.as_ref().is_none_or(is_wanted)
    }

    fn takes_stack(&self, stack: u32) -> bool {
        let known = self.stacks.as_ref();
        known.is_none_or(|stacks| stacks.get(stack as usize).is_none_or(|&is| is))
    }
}

/// Whether a user who writes `name` may mean this thread.
pub(crate) fn is_called(thread: &Thread, name: &str) -> bool {
    thread.name == name || name.parse() == Ok(thread.tid)
}
