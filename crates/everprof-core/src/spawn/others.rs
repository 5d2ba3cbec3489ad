//! Others: the threads there are now that nobody was seen to create.
//!
//! Context: cold: reads `/proc`, and waits a moment for threads that are just beginning.
//! Invariant: a thread that the pool knows, or knew until a moment ago, is not among them.

use std::collections::HashSet;

use super::pool::{Pool, Seen};
use crate::own_threads;
use crate::sys;

/// Threads that nobody was seen to create.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// CPU time of the process's first thread; `None`: it has ended, or cannot be seen.
    pub main_cpu_nanos: Option<u64>,
    /// How many others there are: made before everprof began, or by raw `clone`.
    pub unknown: u64,
    /// Their CPU time.
    pub unknown_cpu_nanos: u64,
}

/// How often the list is read again while threads are about to begin, with a pause of 50 µs
/// in between: a hundred times what one takes to begin on an idle machine.
const PATIENCE: u32 = 100;

impl Others {
    pub(super) fn now(pool: Option<Pool<'_>>) -> Self {
        let mut others = Self::default();
        let process = sys::process_id();
        let listed = listed(pool);
        // The index alone would do, were no thread ever put out of its place there.
        let mut known = HashSet::new();
        if let Some(pool) = pool {
            pool.for_each(|thread| {
                known.insert(thread.tid);
            });
        }
        for tid in listed {
            if own_threads::contains(tid) {
                continue;
            }
            let cpu_nanos = sys::thread_cpu_nanos(tid);
            if tid == process {
                others.main_cpu_nanos = cpu_nanos;
                continue;
            }
            let is_known =
                known.contains(&tid) || pool.is_some_and(|pool| pool.seen(tid) != Seen::Unknown);
            // One that is gone already is no thread now.
            if let Some(cpu_nanos) = cpu_nanos.filter(|_| !is_known) {
                others.unknown += 1;
                others.unknown_cpu_nanos += cpu_nanos;
            }
        }
        others
    }
}

/// The kernel's list, as of a moment at which no thread was between its creation and
/// its first instruction, where the index would not know it.
fn listed(pool: Option<Pool<'_>>) -> Vec<u32> {
    for _ in 0..PATIENCE {
        let tids = sys::thread_ids().unwrap_or_default();
        if pool.is_none_or(|pool| pool.starting() == 0) {
            return tids;
        }
        sys::pause_briefly();
    }
    sys::thread_ids().unwrap_or_default()
}
