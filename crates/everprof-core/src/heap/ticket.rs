//! What the allocator holds of a sample: before it has an object, and when it is
//! about to give one back.
//!
//! Context: sampled. Invariant: either knows which tables it came from. A fork's
//! child that has made new ones since leaves it without effect.

use std::mem;

use super::tally;
use crate::arena::{Offset, Region};
use crate::inuse::{Held, InUse, Object, Place};
use crate::ledger::{self, Ledger};
use crate::sampler::Weight;
use crate::store::{Generation, Store};
use crate::sys;

/// A sampled allocation between the decision and the inner allocator's answer.
/// Dropped without [`Ticket::commit`], nothing is recorded.
#[derive(Debug)]
#[must_use]
pub struct Ticket<'a> {
    pub(super) store: &'a Store,
    pub(super) place: Place,
    pub(super) bucket: Offset,
    pub(super) weight: Weight,
    /// The store's when the place was reserved.
    pub(super) generation: Generation,
}

/// A sampled object taken out of the in-use store. Dropped: it was freed.
#[derive(Debug)]
#[must_use]
pub struct Taken<'a> {
    pub(super) store: &'a Store,
    pub(super) held: Held,
    /// The store's when it was taken.
    pub(super) generation: Generation,
    /// False: it was a parent's, who counted it.
    pub(super) is_own: bool,
}

impl Ticket<'_> {
    /// The object stands at `address`, `shift` bytes into the inner block; the
    /// shift is 0 or a power of two.
    #[inline]
    pub fn commit(self, address: usize, shift: usize) {
        let ticket = mem::ManuallyDrop::new(self);
        let Some((region, in_use)) = in_use_of(ticket.store, ticket.generation) else {
            return;
        };
        let born = sys::coarse_nanos();
        let object = Object {
            bucket: ticket.bucket,
            weight: ticket.weight,
            shift,
            born,
        };
        Ledger::count_of(region, ledger::Name::HEAP, ticket.bucket, |cells| {
            tally::add_allocated(cells, &ticket.weight);
            in_use.publish(ticket.place, address, &object);
            ticket.store.filter().add(address);
        });
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some((_, in_use)) = in_use_of(self.store, self.generation) {
            in_use.unreserve(self.place);
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
        if let Some((_, in_use)) = in_use_of(taken.store, taken.generation) {
            in_use.restore(&taken.held);
        }
    }
}

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some((region, in_use)) = in_use_of(self.store, self.generation) else {
            return;
        };
        let object = &self.held.object;
        let forget = || {
            in_use.release(&self.held);
            self.store.filter().remove(self.held.address());
        };
        let is_own = self.is_own && self.generation == self.store.generation();
        // One that a fork's child inherited was counted by its parent.
        if is_own && object.weight.objects_q8 != 0 {
            Ledger::count_of(region, ledger::Name::HEAP, object.bucket, |cells| {
                tally::add_freed(cells, &object.weight);
                forget();
            });
        } else {
            forget();
        }
    }
}

/// What holds a place or an object of `generation`. No more of the arena is opened: that
/// was a tenth of a sample.
#[inline]
fn in_use_of(store: &Store, generation: Generation) -> Option<(Region<'_>, InUse<'_>)> {
    let region = store.region_of(generation)?;
    Some((region, InUse::open(region)?))
}
