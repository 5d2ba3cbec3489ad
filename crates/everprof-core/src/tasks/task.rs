//! Task: a watched future's hold on its entry.
//!
//! Context: sampled. Invariant: an entry is one task's from `begin` to the end, which is when
//! the future is done or dropped, whichever is first.

use super::capture;
use super::entry::{Entry, Kind, ROOT, Stage};
use super::limit_bytes;
use super::poll::note_untracked;
use crate::clock::early_nanos;
use crate::global;
use crate::labels;
use crate::settings::Name;
use crate::stack::Registers;
use crate::sync::Ordering;

/// See the module head.
#[derive(Debug)]
pub(super) struct Task(Record);

/// What there is of it.
#[derive(Clone, Copy, Debug)]
enum Record {
    /// It is not watched, since tasks are not, or were not.
    Off,
    /// There was no room for it, which is counted.
    Lost,
    /// It is seen.
    Seen(&'static Entry),
}

/// Whether futures are watched at all.
#[inline(always)]
pub(super) fn is_on() -> bool {
    global::store().settings().get(Name::Tasks) != 0
}

impl Task {
    /// A future of this kind is made. `is_root`: it is what an executor will poll, and nobody
    /// else.
    pub(super) fn begin(kind: &'static Kind, is_root: bool) -> Self {
        if !is_on() || capture::this_thread().excluded.get() {
            return Self(Record::Off);
        }
        Self(begin(kind, is_root))
    }

    /// Its entry, if it is seen.
    #[inline(always)]
    pub(super) fn entry(&self) -> Option<&'static Entry> {
        match self.0 {
            Record::Seen(entry) => Some(entry),
            Record::Off | Record::Lost => None,
        }
    }

    /// Polled while tasks are not watched.
    #[cold]
    pub(super) fn note_untracked(&self) {
        if let Some(entry) = self.entry() {
            note_untracked(entry);
        }
    }

    /// The future is done, or is no more.
    pub(super) fn end(&mut self) {
        match std::mem::replace(&mut self.0, Record::Off) {
            Record::Off => {}
            Record::Lost => global::tasks().forget_lost(),
            Record::Seen(entry) => {
                entry.enter(Stage::Free, 0);
                if entry.cell.let_go().is_vacant {
                    global::tasks().give_back(entry);
                }
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.end();
    }
}

/// Apart, so that the first frame of a maker's stack is this one.
#[inline(never)]
fn begin(kind: &'static Kind, is_root: bool) -> Record {
    let store = global::store();
    let Some(region) = store.region_or_make() else {
        return Record::Off;
    };
    let tasks = global::tasks();
    let Some(entry) = tasks.take(limit_bytes(store)) else {
        tasks.lose();
        return Record::Lost;
    };
    entry.cell.hold();
    // Not in a closure: its frame would be another.
    let registers = Registers::here();
    let made_by = capture::maker(store, region, kind, &registers);
    let local = capture::this_thread();
    let now_nanos = early_nanos();
    // Relaxed, all: published by the stage.
    let set = |cell: &crate::sync::AtomicU64, value| cell.store(value, Ordering::Relaxed);
    set(&entry.id, tasks.next_id());
    set(&entry.maker, local.tasks.polled.get().id());
    set(&entry.created_nanos, now_nanos);
    set(&entry.since_nanos, now_nanos);
    set(&entry.woken_nanos, 0);
    set(&entry.generation, store.generation().to_bits() + 1);
    set(&entry.labels, labels::current().to_bits());
    entry
        .made_by
        .store(made_by.map_or(0, |bucket| bucket.raw()), Ordering::Relaxed);
    entry.leaf_count.store(0, Ordering::Relaxed);
    for leaf in &entry.leaves {
        leaf.store(0, Ordering::Relaxed);
    }
    let wakes = entry.wakes(entry.cell.counts().wakes);
    entry.seen.store(wakes, Ordering::Relaxed);
    entry.future_at.store(0, Ordering::Relaxed);
    entry
        .kind
        .store(std::ptr::from_ref(kind).cast_mut(), Ordering::Relaxed);
    entry.enter(Stage::Created, if is_root { ROOT } else { 0 });
    Record::Seen(entry)
}
