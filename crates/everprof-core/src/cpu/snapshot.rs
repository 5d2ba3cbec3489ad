//! Snapshot: what a session has counted, when it has ended.
//!
//! Context: cold. Invariant: nobody writes it any more, unless it says `torn`.

use std::mem::ManuallyDrop;

use super::buckets::Buckets;
use crate::arena::Arena;

/// The stacks that were running while a session was.
#[derive(Debug)]
pub struct Snapshot {
    /// None: there was none, or it is that of a fork's parent.
    arena: ManuallyDrop<Option<Arena>>,
    /// When the session began, in nanoseconds since the Unix epoch.
    pub began_unix_nanos: u64,
    /// How long it was.
    pub duration_nanos: u64,
    /// CPU time that each sample stands for.
    pub period_nanos: u64,
    /// Threads that the system let have no timer, as there are as many as it allows
    /// (`RLIMIT_SIGPENDING`). Their time is counted as unseen.
    pub threads_refused: u64,
    /// A handler was waited for in vain: its sample may be missing, and the memory is
    /// not given back.
    pub torn: bool,
}

/// One stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket<'a> {
    /// Addresses, leaf first: of the leaf one more than the instruction that was
    /// interrupted, of the others the one that the call returns to. The first 63
    /// numbers are no addresses, see [`crate::lost`].
    pub stack: &'a [u64],
    /// The label set that was in force on the thread; 0: none.
    pub labels: u32,
    /// How often it was seen running.
    pub samples: u64,
    /// CPU time that this stands for.
    pub nanos: u64,
}

impl Snapshot {
    pub(super) fn new(arena: Option<Arena>, period_nanos: u64) -> Self {
        Self {
            arena: ManuallyDrop::new(arena),
            began_unix_nanos: 0,
            duration_nanos: 0,
            period_nanos,
            threads_refused: 0,
            torn: false,
        }
    }

    /// Calls `visit` with each stack that was seen.
    pub fn for_each(&self, mut visit: impl FnMut(Bucket<'_>)) {
        let Some(buckets) = self
            .arena
            .as_ref()
            .and_then(|arena| Buckets::open(arena.region()))
        else {
            return;
        };
        buckets.for_each(|stack, labels, samples| {
            visit(Bucket {
                stack,
                labels,
                samples,
                nanos: samples.saturating_mul(self.period_nanos),
            });
        });
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !self.torn {
            // SAFETY: not used again; nobody else drops it.
            unsafe { ManuallyDrop::drop(&mut self.arena) };
        }
    }
}
