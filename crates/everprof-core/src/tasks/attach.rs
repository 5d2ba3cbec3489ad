//! Attach: the executor's waker comes into a cell when a leaf first wants one.
//!
//! Context: sampled, beneath the leaf's lock; clones the executor's waker, as the leaf would have.
//! Invariant: a cell's waker is written by one thread at a time: the one that the poll began on.
//!
//! What is lent is used while its poll is under way, but not always on that poll's thread: it may
//! be handed to another, or the poll itself may go on there, where coroutines move. Those get a
//! cell of their own each time. It is asked which thread this is, not which poll it believes to
//! be in: coroutines mix that up, and of all threads one is the one that the poll began on.
//!
//! The executor's clone may use what is lent, and so come here again: a cell that it has found for
//! this poll meanwhile stays the poll's.

use std::ptr;
use std::task::Waker;

use super::capture::this_thread;
use super::cell::Attached;
use super::entry::Entry;
use crate::global;
use crate::sync::Ordering;

/// Whether this thread is the one that the poll under way began on.
#[inline]
pub(super) fn is_pollers_thread(task: &Entry) -> bool {
    // Relaxed, both: written before the waker was lent.
    let tid = task.tid.load(Ordering::Relaxed);
    let generation = task.generation.load(Ordering::Relaxed);
    this_thread().tasks.is(tid, generation)
}

/// A reference of the cell that is attached in this poll, if somebody has one still.
#[inline]
pub(super) fn again(task: &'static Entry) -> Option<&'static Entry> {
    let cell = attached(task)?;
    cell.cell.add_to_others().then_some(cell)
}

/// A reference of a cell that has the waker which the poll was given. `None`: no room.
#[inline]
pub(super) fn first(task: &'static Entry, given: &Waker) -> Option<&'static Entry> {
    // SAFETY: by the thread that the poll began on, which therefore is the only one (module
    // head); the task holds the cell until its end.
    match unsafe { task.cell.attach(given) } {
        Attached::Here => {
            if lent(task).is_none() {
                set(task, task);
            }
            Some(task)
        }
        Attached::Busy => first_beside(task, given),
    }
}

/// Somebody keeps a waker of another executor's: a cell is lent to the poll.
#[cold]
fn first_beside(task: &'static Entry, given: &Waker) -> Option<&'static Entry> {
    let cell = elsewhere(task, given)?;
    if lent(task).is_none() {
        // What was just taken is the poll's, so that it is there for the next leaf.
        cell.cell.add();
        set(task, cell);
    }
    Some(cell)
}

/// A reference of a cell that is lent for it alone.
#[cold]
pub(super) fn elsewhere(task: &'static Entry, given: &Waker) -> Option<&'static Entry> {
    let limit_bytes = super::limit_bytes(global::store());
    let cell = global::tasks().take(limit_bytes)?;
    cell.lend(task);
    // Nobody's word but the reference that this takes: it is free when that is given back.
    // SAFETY: nobody else knows the cell.
    match unsafe { cell.cell.attach(given) } {
        Attached::Here => Some(cell),
        // Not so: it had no references.
        Attached::Busy => None,
    }
}

/// A poll is over: the cell that was lent to it, whose reference is the caller's now.
#[inline]
pub(super) fn detach(task: &'static Entry) -> Option<&'static Entry> {
    let cell = lent(task);
    set_none(task);
    cell
}

/// The cell that was lent to the poll, which has a reference of it.
#[inline]
fn lent(task: &'static Entry) -> Option<&'static Entry> {
    attached(task).filter(|cell| !ptr::eq(*cell, task))
}

#[inline]
fn attached(task: &'static Entry) -> Option<&'static Entry> {
    // Relaxed, here and below: by the thread that polls.
    let cell = task.attached.load(Ordering::Relaxed);
    // SAFETY: null, or what `set` stored, an entry, which is never unmapped (`entries`).
    unsafe { cell.as_ref() }
}

fn set(task: &'static Entry, cell: &'static Entry) {
    let cell = ptr::from_ref(cell).cast_mut();
    task.attached.store(cell, Ordering::Relaxed);
}

fn set_none(task: &'static Entry) {
    task.attached.store(ptr::null_mut(), Ordering::Relaxed);
}
