//! Wakers: what a watched future is polled with, and what its leaves keep.
//!
//! Context: any. A leaf clones, drops and wakes with its own lock held: nothing here
//! allocates, locks, or calls the executor but where the leaf's own clone would have.
//! Invariant: `data` is an entry's address, and a `COUNTED` waker has a reference of its cell.
//!
//! ```text
//!               clone: capture, count            clone: count
//!  CAPTURE ──────────────────────────▶ COUNTED ──────────────▶ COUNTED
//!  lent for one poll                   kept by leaves
//! ```
//!
//! Two tables, so that a kept waker never equals the one of the next poll: `will_wake` is
//! false, and so a leaf clones at each poll, and its stack is seen.

use std::mem::ManuallyDrop;
use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::capture::{self, How};
use super::cell::Released;
use super::entry::Entry;
use crate::global;
use crate::stack::Registers;
use crate::waits::now_nanos;

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

/// The waker to poll with, for as long as the poll has a reference of the cell.
pub(super) fn lent(cell: &'static Entry) -> ManuallyDrop<Waker> {
    let data = ptr::from_ref(cell).cast();
    // SAFETY: the functions of the table keep the contract of `RawWaker` (module head); what
    // is lent is never dropped, and its `drop` does nothing.
    ManuallyDrop::new(unsafe { Waker::new(data, &CAPTURE) })
}

/// The cell, if a waker is one that a watched future's poll has lent.
pub(super) fn cell_of(waker: &Waker) -> Option<&'static Entry> {
    if !ptr::eq(waker.vtable(), &raw const CAPTURE) {
        return None;
    }
    // SAFETY: of our table, so its data is an entry's address.
    Some(unsafe { entry(waker.data()) })
}

/// A waker as leaves keep it, of a poll that is under way.
pub(super) fn kept(cell: &'static Entry) -> Waker {
    cell.cell.add();
    let data = ptr::from_ref(cell).cast();
    // SAFETY: as in `lent`; it has the reference that was just taken.
    unsafe { Waker::new(data, &COUNTED) }
}

/// The words that a kept waker of this cell consists of, for those who look for them.
#[cfg_attr(
    not(all(target_os = "linux", not(miri))),
    allow(dead_code, reason = "nobody looks for them there")
)]
pub(super) fn words_of(cell: &Entry) -> (usize, usize) {
    (ptr::from_ref(cell).addr(), (&raw const COUNTED).addr())
}

/// # Safety
/// `data` is that of a waker made here.
unsafe fn entry(data: *const ()) -> &'static Entry {
    // SAFETY: an entry's address (`lent`), and entries are never unmapped (`entries`).
    unsafe { &*data.cast() }
}

/// # Safety
/// As of all functions of these tables: `RawWakerVTable`'s contract.
unsafe fn clone_capture(data: *const ()) -> RawWaker {
    // SAFETY: the caller's promise.
    let cell = unsafe { entry(data) };
    // What is lent is used within the poll, which has a reference.
    cell.cell.add();
    capture::leaf(cell, How::Awaits, &Registers::here());
    RawWaker::new(data, &COUNTED)
}

/// # Safety
/// As above.
unsafe fn wake_lent(data: *const ()) {
    // SAFETY: the caller's promise.
    let cell = unsafe { entry(data) };
    cell.task().mark_woken(now_nanos);
    capture::leaf(cell, How::WakesItself, &Registers::here());
    // SAFETY: the poll's reference.
    unsafe { cell.cell.wake_by_ref() };
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
    if let Some(mut released) = unsafe { cell.cell.release_last() } {
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

#[inline]
fn mark(cell: &'static Entry) {
    cell.task().mark_woken(now_nanos);
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
