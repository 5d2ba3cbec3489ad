//! Wakers: what a watched future is polled with, and what its leaves keep.
//!
//! Context: any. A leaf clones, drops and wakes with its own lock held: nothing here
//! allocates, locks, or calls the executor but where the leaf's own clone would have.
//! Invariant: `data` is an entry's address and a tag below it. A `CAPTURE` waker is only used
//! while the poll that lends it is under way, and a `COUNTED` one has a reference of its cell.
//!
//! ```text
//!               clone: capture, count            clone: count
//!  CAPTURE ──────────────────────────▶ COUNTED ──────────────▶ COUNTED
//!  lent for one poll                   kept by leaves
//! ```
//!
//! A poll in which no leaf keeps anything leaves the cell alone: the executor's waker is cloned
//! where the first leaf clones, as if it had that one.
//!
//! Two tables, so that a kept waker never equals the one of the next poll: `will_wake` is
//! false, and so a leaf clones at each poll, and its stack is seen.
//!
//! The tag is the poll's number, as far as it has room: it tells the wakers of the last poll from
//! words of old ones (`reach`), and nothing hangs on it besides.

use std::mem::ManuallyDrop;
use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::attach;
use super::capture;
use super::cell::Released;
use super::entry::{Entry, TAGS, Word};
use super::wanted::How;
use crate::clock;
use crate::global;
use crate::stack::Registers;
use crate::sync::Ordering;

/// What the future is polled with: lent, not kept.
static CAPTURE: RawWakerVTable =
    RawWakerVTable::new(clone_capture, wake_lent, wake_lent, drop_lent);

/// What leaves keep.
static COUNTED: RawWakerVTable = RawWakerVTable::new(
    clone_counted,
    wake_counted,
    wake_counted_by_ref,
    drop_counted,
);

/// The waker to poll with, for as long as what the poll was given is valid.
pub(super) fn lent(task: &'static Entry) -> ManuallyDrop<Waker> {
    let data = ptr::from_ref(task).cast();
    // SAFETY: the functions of the table keep the contract of `RawWaker` (module head); what
    // is lent is never dropped, and its `drop` does nothing.
    ManuallyDrop::new(unsafe { Waker::new(data, &CAPTURE) })
}

/// The task, if a waker is one that a watched future's poll has lent.
pub(super) fn lender(waker: &Waker) -> Option<&'static Entry> {
    if !ptr::eq(waker.vtable(), &raw const CAPTURE) {
        return None;
    }
    // SAFETY: of our table, so its data is an entry's address.
    Some(unsafe { entry(waker.data()) })
}

/// The words that a waker of this cell which the last poll of its task left consists of, for
/// those who look for them. `word` is of the task behind that poll.
#[cfg_attr(
    not(all(target_os = "linux", not(miri))),
    allow(dead_code, reason = "nobody looks for them there")
)]
pub(super) fn words_of(cell: &Entry, word: Word) -> (usize, usize) {
    let data = ptr::from_ref(cell).addr() | word.tag_of_last_poll();
    (data, (&raw const COUNTED).addr())
}

/// # Safety
/// `data` is that of a waker made here.
#[inline(always)]
unsafe fn entry(data: *const ()) -> &'static Entry {
    let at = data.map_addr(|at| at & !(TAGS - 1)).cast();
    // SAFETY: an entry's address, but for the tag (`lent`, `counted`), and entries are never
    // unmapped (`entries`).
    unsafe { &*at }
}

/// What stands for a reference of this cell.
#[inline]
fn counted(cell: &'static Entry, tag: usize) -> RawWaker {
    let data = ptr::from_ref(cell).map_addr(|at| at | tag).cast();
    RawWaker::new(data, &COUNTED)
}

/// A waker as leaves keep it.
///
/// # Safety
/// The waker that the poll under way of `task` has lent is there: whoever calls has it.
unsafe fn kept(task: &'static Entry, tag: usize) -> RawWaker {
    // SAFETY: `begin` stored it, and it is valid as long as what is lent; on another thread,
    // too, which has that from this one.
    let given = unsafe { &*task.given.load(Ordering::Relaxed) };
    let is_pollers = attach::is_pollers_thread(task);
    if is_pollers && let Some(cell) = attach::again(task) {
        return counted(cell, tag);
    }
    let Some(outer) = lender(given) else {
        return kept_of(task, given, is_pollers, tag);
    };
    // As it would be kept; what is lent is another each time it is looked at. Without a tag:
    // the next poll's is the same.
    // SAFETY: what `task`'s poll was given is there, as it is under way.
    let given = unsafe { kept(outer, 0) };
    // SAFETY: from our table, or the executor's.
    let given = unsafe { Waker::from_raw(given) };
    kept_of(task, &given, is_pollers, tag)
}

#[inline]
fn kept_of(task: &'static Entry, given: &Waker, is_pollers: bool, tag: usize) -> RawWaker {
    let cell = if is_pollers {
        attach::first(task, given)
    } else {
        attach::elsewhere(task, given)
    };
    if let Some(cell) = cell {
        return counted(cell, tag);
    }
    task.note_untracked_leaf();
    let own = ManuallyDrop::new(given.clone());
    RawWaker::new(own.data(), own.vtable())
}

/// # Safety
/// As of all functions of these tables: `RawWakerVTable`'s contract.
unsafe fn clone_capture(data: *const ()) -> RawWaker {
    // SAFETY: the caller's promise.
    let task = unsafe { entry(data) };
    // SAFETY: it has this waker.
    let kept = unsafe { kept(task, task.tag()) };
    capture::leaf(task, How::Awaits, &Registers::here());
    kept
}

/// # Safety
/// As above.
unsafe fn wake_lent(data: *const ()) {
    // SAFETY: the caller's promise.
    let task = unsafe { entry(data) };
    task.note_woken(clock::early_nanos);
    task.count_wake();
    // Though it may be a part of it that gives its turn away: where that waits, this one does.
    if attach::is_pollers_thread(task) {
        capture::note_woke_itself(task);
    }
    capture::leaf(task, How::WakesItself, &Registers::here());
    // SAFETY: as in `kept`.
    let given = unsafe { &*task.given.load(Ordering::Relaxed) };
    given.wake_by_ref();
}

/// # Safety
/// As above.
unsafe fn drop_lent(_data: *const ()) {}

/// # Safety
/// As above.
unsafe fn clone_counted(data: *const ()) -> RawWaker {
    // SAFETY: the caller's promise.
    unsafe { entry(data) }.cell.add();
    RawWaker::new(data, &COUNTED)
}

/// # Safety
/// As above.
unsafe fn wake_counted(data: *const ()) {
    // SAFETY: the caller's promise.
    let cell = unsafe { entry(data) };
    mark(cell);
    // The only one is spent on the wake, as the executor's own would be.
    // SAFETY: this waker's reference; it was given away to this function.
    if let Some(mut released) = unsafe { cell.cell.wake_last() } {
        let waker = released.waker.take();
        end(cell, released);
        if let Some(waker) = waker {
            waker.wake();
        }
        return;
    }
    // SAFETY: this waker's reference, which was not given back.
    unsafe { cell.cell.wake_by_ref() };
    // SAFETY: as above.
    end(cell, unsafe { cell.cell.release() });
}

/// # Safety
/// As above.
unsafe fn wake_counted_by_ref(data: *const ()) {
    // SAFETY: the caller's promise.
    let cell = unsafe { entry(data) };
    mark(cell);
    // SAFETY: this waker's reference.
    unsafe { cell.cell.wake_by_ref() };
}

/// # Safety
/// As above.
unsafe fn drop_counted(data: *const ()) {
    // SAFETY: the caller's promise.
    let cell = unsafe { entry(data) };
    // SAFETY: this waker's reference, which goes with it.
    end(cell, unsafe { cell.cell.release() });
}

/// What is to be noted before the cell counts a wake and wakes.
#[inline]
fn mark(cell: &'static Entry) {
    let task = cell.task();
    task.note_woken(clock::early_nanos);
    // What a lent cell counts nobody asks for.
    if !ptr::eq(task, cell) {
        task.count_wake();
    }
}

/// What is left when a reference was given back: the executor's waker is dropped here, as the
/// one that this stands for would have been.
#[inline]
pub(super) fn end(cell: &'static Entry, released: Released) {
    let Released { waker, is_vacant } = released;
    if is_vacant {
        global::tasks().give_back(cell);
    }
    drop(waker);
}
