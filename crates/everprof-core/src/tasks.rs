//! Tasks: what each watched future awaits, since when, and who made it.
//!
//! Context: sampled, in the program's polls, clones, wakes and drops; what says cold is cold.
//! Invariant: the future is polled when it would have been, never for us; each wake reaches the
//! executor. What cannot be seen of a task leaves it as it is.
//!
//! ```text
//!  Watched::poll ── begin ──▶ future.poll(lent waker) ──▶ leaf: waker.clone()
//!    poll.rs                    future.rs, waker.rs          │ capture.rs: its stack, down to
//!      │ end ◀──────────────────────── Pending ◀─────────────┘ the frame of Watched::poll
//!      ▼
//!  entry.rs: stage, since when, buckets    leaf.wake() ──▶ marked woken, then the executor's
//!  cell.rs: the executor's waker, since    waker.rs         waker, of cell.rs
//!           the clone (attach.rs)
//! ```
//!
//! A leaf future registers the waker that it is polled with by cloning it, on the stack that
//! awaits it. So the waker that a watched future is polled with captures that stack in its
//! `clone`. What the leaf gets is another waker of ours, which counts: when none is left
//! and none has woken the task, nobody can any more.
//!
//! [`look`] reads all entries; [`block`] the sums of waits, which stand in a ledger by
//! await stack.
//!
//! Source: async-backtrace and tokio's task dumps have stacks from frames that futures carry, or
//! from polls made for the purpose. That leaves clone in each poll if the waker is another was
//! measured, and is held to, leaf by leaf, by `testprograms/tasks`.

pub mod cell;

#[cfg(not(everprof_loom))]
mod attach;
#[cfg(not(everprof_loom))]
mod block;
#[cfg(not(everprof_loom))]
mod capture;
#[cfg(not(everprof_loom))]
mod entries;
#[cfg(not(everprof_loom))]
mod entry;
#[cfg(not(everprof_loom))]
mod future;
#[cfg(not(everprof_loom))]
mod look;
#[cfg(not(everprof_loom))]
mod places;
#[cfg(not(everprof_loom))]
mod poll;
#[cfg(not(everprof_loom))]
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(any(miri, everprof_emulated))
    )),
    path = "tasks/reach_noop.rs"
)]
mod reach;
#[cfg(not(everprof_loom))]
mod tally;
#[cfg(not(everprof_loom))]
mod task;
#[cfg(not(everprof_loom))]
mod thread;
#[cfg(not(everprof_loom))]
mod waker;
#[cfg(not(everprof_loom))]
mod wanted;

#[cfg(not(everprof_loom))]
pub use self::block::{BlockBucket, BlockSnapshot, block};
#[cfg(not(everprof_loom))]
pub use self::entries::Entries;
#[cfg(not(everprof_loom))]
pub use self::entry::{Kind, MOST_LEAVES};
#[cfg(not(everprof_loom))]
pub use self::future::Watched;
#[cfg(not(everprof_loom))]
pub use self::look::{Leak, Look, Seen, Stack, State, Wakers, counts, look};
#[cfg(not(everprof_loom))]
pub use self::places::Places;
#[cfg(not(everprof_loom))]
pub use self::tally::Times;
#[cfg(not(everprof_loom))]
pub(crate) use self::thread::ThreadState;
#[cfg(not(everprof_loom))]
pub use self::wanted::How;

/// Bytes that entries may take: half as much as the records, on top of these. By default
/// that is room for 174,762 tasks.
#[cfg(not(everprof_loom))]
fn limit_bytes(store: &crate::store::Store) -> usize {
    store.memory_limit() / 2
}

#[cfg(all(test, not(everprof_loom)))]
mod tests;
