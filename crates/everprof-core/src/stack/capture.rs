//! Capture: one walk with the process's caches and this thread's memory.
//!
//! Context: sampled and signal. Twin of `capture_noop.rs`.
//! Invariant: whatever the registers say, the walk ends and does not fault.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use lookup::Lookup;
use probe::Readable;
pub use probe::ThreadMemory;

#[cfg(not(everprof_loom))]
use super::StackEnd;
use super::memo::Pool;
use super::walk::walk;
use super::{Captured, Registers, depth_limit};
#[cfg(not(everprof_loom))]
use below::Below;

#[cfg(not(everprof_loom))]
mod below;
mod lookup;
mod outside;
#[cfg(not(everprof_loom))]
pub(crate) mod path;
pub(crate) mod probe;

#[cfg_attr(
    everprof_loom,
    allow(unused_imports, reason = "threads are absent there")
)]
pub(crate) use outside::{Leaf, Reader};

/// Writes the stack that `registers` stand in to `out`, leaf first.
///
/// At most [`depth_limit`] entries are written, and no more than fit. Entries are
/// return addresses; where the leaf or a frame interrupted by a signal has none, one
/// more than its pc. Frames at the leaf end whose pc is in `skip` are left out.
///
/// `registers` must be this thread's own, `memory` this thread's. Nothing else is
/// asked of either: whatever their values are, the walk ends and does not fault.
///
/// # Overhead
///
/// Depth 32 (45 frames), the same stack as before: 2,186 instructions, about 100 ns on a
/// shared x86_64 machine (`cargo bench -p everprof-core --bench stack`).
#[must_use]
pub fn capture(
    registers: &Registers,
    memory: &ThreadMemory,
    out: &mut [u64],
    skip: &Range<u64>,
) -> Captured {
    let limit = depth_limit().min(out.len());
    let out = out.get_mut(..limit).unwrap_or(&mut []);
    let mut lookup = Lookup::new();
    let mut readable = Readable::new(memory, registers.sp);
    let memo = match memory.memo.get() {
        0 => assign(memory),
        assigned => assigned as usize,
    };
    if MEMOS.is_busy(memo) {
        // In use by another thread, or by the walk that a signal interrupted.
        assign(memory);
    }
    MEMOS.with(memo, |memo| {
        walk(registers, &mut readable, &mut lookup, memo, out, skip)
    })
}

/// As [`capture`], of the frames that were called by one whose stack pointer is `below`; that
/// one, and what called it, are left out.
#[must_use]
#[cfg(not(everprof_loom))]
#[inline]
pub(crate) fn capture_below(
    registers: &Registers,
    memory: &ThreadMemory,
    out: &mut [u64],
    below: u64,
) -> Captured {
    let limit = depth_limit().min(out.len());
    let out = out.get_mut(..limit).unwrap_or(&mut []);
    let mut readable = Below::new(Readable::new(memory, registers.sp), below);
    let mut lookup = Lookup::new();
    // Without a memo: opening and closing one costs as much as ten frames, and these few
    // would drive out the thread's others.
    let mut captured = walk(registers, &mut readable, &mut lookup, None, out, &(0..0));
    if readable.was_reached() && captured.end != StackEnd::Truncated {
        // The last frame's caller is further up.
        captured.depth = captured.depth.saturating_sub(1);
    }
    captured
}

/// As many threads as are likely to sample at once; see `memo` for the bytes.
static MEMOS: Pool<64> = Pool::new();

/// Memos handed out so far. Any thread adds; nothing is published by it.
static ASSIGNED: AtomicU32 = AtomicU32::new(0);

/// Gives the thread the next memo.
#[cold]
fn assign(memory: &ThreadMemory) -> usize {
    // Relaxed: a number; which memo a thread has is of no consequence.
    let next = ASSIGNED
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_add(1)
        .max(1);
    memory.memo.set(next);
    next as usize
}
