//! What the allocator holds of a sample: before it has an object, and when it is
//! about to give one back.
//!
//! Context: sampled. Invariant: either knows which tables it came from. A fork's
//! child that has made new ones since leaves it without effect.

use std::mem;

use super::Recorder;
use crate::arena::Offset;
use crate::inuse::{Held, Object, Place};
use crate::sampler::Weight;
use crate::sync::Ordering;
use crate::sys;

/// A sampled allocation between the decision and the inner allocator's answer.
/// Dropped without [`Ticket::commit`], nothing is recorded.
#[derive(Debug)]
#[must_use]
pub struct Ticket<'a> {
    pub(super) recorder: &'a Recorder,
    pub(super) place: Place,
    pub(super) bucket: Offset,
    pub(super) weight: Weight,
    /// The recorder's `tables` when the place was reserved.
    pub(super) tables: u32,
}

/// A sampled object taken out of the in-use store. Dropped: it was freed.
#[derive(Debug)]
#[must_use]
pub struct Taken<'a> {
    pub(super) recorder: &'a Recorder,
    pub(super) held: Held,
    /// The recorder's `tables` when it was taken.
    pub(super) tables: u32,
    /// The recorder's `counters` then; none, if it was the parent's.
    pub(super) counters: Option<u32>,
}

impl Ticket<'_> {
    /// The object stands at `address`, `shift` bytes into the inner block; the
    /// shift is 0 or a power of two.
    pub fn commit(self, address: usize, shift: usize) {
        let ticket = mem::ManuallyDrop::new(self);
        let Some(parts) = ticket.recorder.parts_of(ticket.tables) else {
            return;
        };
        let born_nanos = sys::coarse_nanos();
        let object = Object {
            bucket: ticket.bucket,
            weight: ticket.weight,
            shift,
            born_nanos,
        };
        parts.count(ticket.bucket, |cells| {
            cells.alloc.add(&ticket.weight);
            parts.in_use.publish(ticket.place, address, &object);
            ticket.recorder.filter.add(address);
        });
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(parts) = self.recorder.parts_of(self.tables) {
            parts.in_use.unreserve(self.place);
        }
    }
}

impl Taken<'_> {
    /// How far into the inner block the object stands, as given to `commit`.
    #[must_use]
    pub fn shift(&self) -> usize {
        self.held.object.shift
    }

    /// Bytes of the object, as given to `sample`.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.held.object.weight.size_bytes
    }

    /// The object was not freed after all (a realloc that failed).
    pub fn restore(self) {
        let taken = mem::ManuallyDrop::new(self);
        if let Some(parts) = taken.recorder.parts_of(taken.tables) {
            parts.in_use.restore(&taken.held);
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Some(parts) = self.recorder.parts_of(self.tables) else {
            return;
        };
        let (recorder, object) = (self.recorder, &self.held.object);
        let forget = || {
            parts.in_use.release(&self.held);
            recorder.filter.remove(self.held.address());
        };
        // Relaxed: as in `take`.
        let is_own = self.counters == Some(recorder.counters.load(Ordering::Relaxed));
        // One that a fork's child inherited was counted by its parent.
        if is_own && object.weight.objects_q8 != 0 {
            parts.count(object.bucket, |cells| {
                cells.freed.add(&object.weight);
                forget();
            });
        } else {
            forget();
        }
    }
}
