//! Capture: the stacks of leaves, and of who made a task.
//!
//! Context: sampled; leaves hold their own locks meanwhile. Invariant: a leaf's stack is
//! captured only on the thread that polls the task, within that poll, and ends where the
//! watched future begins.
//!
//! A leaf stands where it or another stood before, nearly always: that is asked first, and the
//! stack is walked only where it is not so ([`super::places`]). What was walked is compared with
//! the stack of the poll before, which saves the hash and the look-up.

use super::entry::{Entry, Kind, MOST_LEAVES};
use super::wanted::{How, Wanted};
use crate::arena::{Offset, Region};
use crate::global;
use crate::labels;
use crate::ledger::{self, Ledger};
use crate::local::{self, Local};
use crate::scratch::or_no_stack;
use crate::stack::{self, Captured, Registers, StackEnd};
use crate::store::Store;
use crate::sync::Ordering;
use crate::table::{Key, Sides, Table};

/// In `leaf_count`: the task woke itself.
pub(super) const WOKE_ITSELF: u32 = 1 << 31;

/// Frames of a leaf's stack that room is made for at first. In release builds there are ten
/// at most, as futures are inlined into one another; what has more is captured again.
const USUAL_DEPTH: usize = 24;

/// A leaf of the task that this thread polls keeps a waker, or wakes.
pub(super) fn leaf(task: &'static Entry, how: How, registers: &Registers) {
    let local = this_thread();
    let polled = local.tasks.polled.get();
    if !task.is(polled.task) {
        return;
    }
    // Relaxed, to the end: fields of the poller, which this is within.
    let count = task.leaf_count.load(Ordering::Relaxed);
    let store = global::store();
    let Some(region) = store.own_region() else {
        return;
    };
    let at = (count & !WOKE_ITSELF) as usize;
    let place = task.leaves.get(at);
    let wanted = Wanted {
        registers,
        below: polled.below,
        whose: polled.pc,
        how,
        labels: labels::in_force(store, local),
        made: store.generation().made(),
    };
    let bucket = match global::task_places().find(region, local, &wanted) {
        Some(bucket) => bucket,
        None => {
            let before = place.and_then(|leaf| Offset::from_raw(leaf.load(Ordering::Relaxed)));
            match walked(store, region, local, &wanted, before) {
                Some(bucket) => bucket,
                None => return,
            }
        }
    };
    let so_far = task.leaves.iter().take(at.min(MOST_LEAVES));
    if so_far
        .map(|leaf| leaf.load(Ordering::Relaxed))
        .any(|leaf| leaf == bucket.raw())
    {
        return;
    }
    match place {
        Some(place) => place.store(bucket.raw(), Ordering::Relaxed),
        // As many as have room: a poll may go on for ever.
        None if count & !WOKE_ITSELF == !WOKE_ITSELF => return,
        None => {}
    }
    task.leaf_count.store(count + 1, Ordering::Relaxed);
}

/// The task is woken by what its poll has lent, on the poll's thread: by itself, or by what it is
/// made of.
pub(super) fn note_woke_itself(task: &Entry) {
    // Relaxed, both: as in `leaf`.
    let count = task.leaf_count.load(Ordering::Relaxed);
    task.leaf_count
        .store(count | WOKE_ITSELF, Ordering::Relaxed);
}

/// The bucket of a stack that stood at no known place; `before` is where the task stood.
#[inline(never)]
fn walked(
    store: &Store,
    region: Region<'_>,
    local: &Local,
    wanted: &Wanted<'_>,
    before: Option<Offset>,
) -> Option<Offset> {
    captured_below(local, wanted.registers, wanted.below, |stack| {
        let key = Key {
            stack,
            extra: wanted.how as u64,
            labels: wanted.labels,
        };
        let bucket = match before {
            Some(bucket) if Table::<Sides>::is_of(region, bucket, &key) => bucket,
            _ => {
                store.note_modules(region);
                Ledger::open(region, ledger::Name::TASK)?.bucket(&key)?
            }
        };
        global::task_places().note(region, local, wanted, (bucket, stack));
        Some(bucket)
    })
}

/// The bucket of who makes a task now: within the poll of another one, as far as that.
pub(super) fn maker(
    store: &Store,
    region: Region<'_>,
    kind: *const Kind,
    registers: &Registers,
) -> Option<Offset> {
    let local = this_thread();
    let polled = local.tasks.polled.get();
    let wanted = Wanted {
        registers,
        below: polled.task.map_or(u64::MAX, |_| polled.below),
        whose: kind.addr() as u64,
        how: How::Makes,
        labels: labels::in_force(store, local),
        made: store.generation().made(),
    };
    if polled.task.is_some()
        && let Some(bucket) = global::task_places().find(region, local, &wanted)
    {
        return Some(bucket);
    }
    walked(store, region, local, &wanted, None)
}

/// Gives `take` the stack that `registers` stand in, without the frame that they are of, up
/// to the frame whose stack pointer is `below`.
#[inline]
fn captured_below<T>(
    local: &Local,
    registers: &Registers,
    below: u64,
    take: impl FnOnce(&[u64]) -> T,
) -> T {
    let mut scratch = [0; USUAL_DEPTH];
    match capture(local, registers, below, &mut scratch) {
        Some(depth) => take(part(&scratch, depth)),
        None => captured_deep(local, registers, below, take),
    }
}

/// Apart, so that its scratch is not on the stack of the other.
#[cold]
#[inline(never)]
fn captured_deep<T>(
    local: &Local,
    registers: &Registers,
    below: u64,
    take: impl FnOnce(&[u64]) -> T,
) -> T {
    let mut scratch = [0; stack::DEFAULT_DEPTH];
    let depth = capture(local, registers, below, &mut scratch);
    // Cut at the limit, its last entry says so.
    take(part(&scratch, depth.unwrap_or(scratch.len())))
}

/// The depth, if all of it has room.
#[inline]
fn capture(local: &Local, registers: &Registers, below: u64, out: &mut [u64]) -> Option<usize> {
    let Captured { depth, end } = stack::capture_below(registers, &local.stack, out, below);
    (end != StackEnd::Truncated || depth < out.len()).then_some(depth)
}

/// Without the first frame, which is ours.
fn part(scratch: &[u64], depth: usize) -> &[u64] {
    or_no_stack(scratch.get(1..depth))
}

/// This thread's state, without a closure around what is done with it.
#[inline(always)]
pub(super) fn this_thread<'l>() -> &'l Local {
    let local = local::with(std::ptr::from_ref);
    // SAFETY: the thread's own block, which has no destructor and lives until its last
    // instruction (`local`); callers use it within their own frame.
    unsafe { &*local }
}
