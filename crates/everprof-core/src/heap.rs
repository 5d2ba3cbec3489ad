//! The heap's recorder: sampler, stack, table and in-use store joined.
//!
//! Context: sampled, but for [`Recorder::may_be_sampled`], which is hot, and what
//! says cold.
//! Invariant: what a sample adds to its bucket, its free adds to the bucket's
//! other counters (`tally`), never more.
//!
//! ```text
//! sample: decide → reserve a place → is it a known stack? else capture → find the bucket → Ticket
//! commit: enter the epoch → count → publish the object → leave
//! take:   hold the object → Taken;  free: enter → count → release → leave
//! ```

use crate::arena::{Offset, Region};
use crate::inuse::InUse;
use crate::labels;
use crate::ledger::{self, Ledger};
use crate::local::{self, Local};
use crate::lost::Lost;
use crate::sampler::{self, Weight};
use crate::scratch;
use crate::settings::Name;
use crate::stack::{self, Registers};
use crate::store::Store;
use crate::sys;
pub(crate) use parts::Parts;
pub(crate) use places::Places;
use places::Wanted;

mod parts;
mod period;
mod places;
mod snapshot;
pub(crate) mod tally;
mod ticket;
pub use snapshot::{Bucket, Snapshot};
pub use tally::Tally;
pub use ticket::{Taken, Ticket};

/// Records allocations and frees in a store.
#[derive(Clone, Copy, Debug)]
pub struct Recorder<'s> {
    store: &'s Store,
}

/// In a fork's child one thread takes note of the fork. Another that comes meanwhile looks again
/// after allocating so much more: little enough to lose next to nothing, enough not to be slow.
const RETRY_BYTES: i64 = 1024;

/// More samples than a signal handler takes while it interrupts one recorder.
const MOST_NESTED: u32 = 64;

impl<'s> Recorder<'s> {
    /// The recorder that writes to `store`.
    #[must_use]
    #[inline(always)]
    pub const fn of(store: &'s Store) -> Self {
        Self { store }
    }

    /// Decides whether the allocation that made the countdown run out is
    /// recorded; captures its stack and finds its bucket if so.
    #[inline]
    pub fn sample(self, size_bytes: usize, registers: &Registers) -> Option<Ticket<'s>> {
        local::with(|local| {
            self.guarded(local, registers.sp, |nested| {
                self.admit(local, size_bytes as u64, nested, Some(registers), |stack| {
                    let skip = self.store.own_text();
                    stack::capture(registers, &local.stack, stack, &skip).depth
                })
            })
        })
    }

    /// As [`Recorder::sample`], with any thread state and any source of stacks:
    /// `capture` fills its argument from the front and says how far.
    pub fn sample_with(
        self,
        local: &Local,
        size_bytes: usize,
        sp: u64,
        capture: impl FnOnce(&mut [u64]) -> usize,
    ) -> Option<Ticket<'s>> {
        self.guarded(local, sp, |nested| {
            self.admit(local, size_bytes as u64, nested, None, capture)
        })
    }

    /// Runs `admit` as the recorder that is at work on this thread, and tells it whether there
    /// was one already.
    #[inline]
    fn guarded(
        self,
        local: &Local,
        sp: u64,
        admit: impl FnOnce(bool) -> Option<Ticket<'s>>,
    ) -> Option<Ticket<'s>> {
        if local.excluded.get() {
            local.set_left(i64::MAX);
            return None;
        }
        // A recorder that is at work in an older frame was interrupted by a signal
        // handler that allocates, or called something that does. If its frame is
        // gone, it was left by longjmp. The same is taken for granted if it has not
        // ended after many more samples. (Should it be at work after all, nothing
        // breaks: the handler's stack is walked as well, no more.)
        let outer = local.busy_below.get();
        let in_a_row = local.nested.get();
        let nested = outer != 0 && sp < outer && in_a_row < MOST_NESTED;
        local.nested.set(if nested { in_a_row + 1 } else { 0 });
        local.busy_below.set(sp);
        let ticket = admit(nested);
        if nested {
            local.busy_below.set(outer);
        } else {
            local.busy_below.set(0);
            local.nested.set(0);
        }
        ticket
    }

    /// `known`: the registers that `capture` will walk from; without them no known stack can be
    /// told.
    #[inline]
    fn admit(
        self,
        local: &Local,
        size_bytes: u64,
        nested: bool,
        known: Option<&Registers>,
        capture: impl FnOnce(&mut [u64]) -> usize,
    ) -> Option<Ticket<'s>> {
        // Decided before tables are made: a process whose period is 0, or that allocates too
        // little to be sampled, never has any.
        let opened = self.opened();
        let period = self.thinned_period(opened.map(|(_, in_use)| in_use));
        let weight = sampler::decide(local, size_bytes, period)?;
        let (region, in_use) = opened.or_else(|| self.make_parts(local, size_bytes))?;
        // Before a place is reserved, and so before the walk, which a handler may interrupt.
        let generation = self.store.generation_of(&region);
        if nested {
            count_lost(region, Lost::Reentry, &weight);
            return None;
        }
        let Some(place) = in_use.reserve() else {
            count_lost(region, Lost::InUseFull, &weight);
            return None;
        };
        let (class, labels) = (size_class(size_bytes), labels::in_force(self.store, local));
        let wanted = known.map(|registers| Wanted {
            registers,
            memory: &local.stack,
            class,
            labels,
        });
        let places = self.store.places();
        let found = wanted.and_then(|wanted| places.find(region, &wanted));
        let walked = || self.walked(region, class, labels, wanted.as_ref(), capture);
        let Some(bucket) = found.or_else(walked) else {
            in_use.unreserve(place);
            return None;
        };
        self.store.note_modules(region);
        Some(Ticket {
            store: self.store,
            place,
            bucket,
            weight,
            generation,
        })
    }

    /// The bucket of a stack that is not among the known ones.
    #[inline(never)]
    fn walked(
        self,
        region: Region<'s>,
        class: u64,
        labels: u32,
        wanted: Option<&Wanted<'_>>,
        capture: impl FnOnce(&mut [u64]) -> usize,
    ) -> Option<Offset> {
        let ledger = Ledger::open(region, ledger::Name::HEAP)?;
        let bucket = scratch::bucket_of(&ledger, class, labels, capture)?;
        if let Some(wanted) = wanted
            && let Some(stack) = ledger.table.stack(bucket)
        {
            self.store.places().note(region, wanted, (bucket, stack));
        }
        Some(bucket)
    }

    /// False: the object at `address` is certainly not a sampled one.
    #[inline(always)]
    #[must_use]
    pub fn may_be_sampled(self, address: usize) -> bool {
        self.store.filter().may_hold(address)
    }

    /// Takes the sampled object at `address` out of the in-use store. To be done
    /// before the inner allocator gets it back: the next owner of the address may
    /// be sampled at once.
    #[inline]
    pub fn take(self, address: usize) -> Option<Taken<'s>> {
        let (region, is_own) = match self.store.own_region() {
            Some(region) => (region, true),
            None => (self.store.region_meanwhile()?, false),
        };
        let generation = self.store.generation_of(&region);
        let held = InUse::open(region)?.hold(address)?;
        Some(Taken {
            store: self.store,
            held,
            generation,
            is_own,
        })
    }

    /// Mean bytes between samples; 0 is off.
    #[must_use]
    pub fn period(self) -> u64 {
        self.store.settings().get(Name::HeapPeriod)
    }

    /// Sets the mean bytes between samples; 0 is off. Threads learn of it at
    /// their next sample, or after 64 MiB. What is recorded keeps its weight.
    pub fn set_period(self, bytes: u64) {
        self.store.set(Name::HeapPeriod, bytes);
    }

    /// A consistent copy of all buckets. Cold. Recorders do not wait for it.
    #[must_use]
    pub fn snapshot(self) -> Snapshot<'s> {
        Snapshot::of(self.parts(), self.period())
    }

    /// What is in use and was allocated more than `age_nanos` ago. Cold.
    #[must_use]
    pub fn snapshot_older_than(self, age_nanos: u64) -> Snapshot<'s> {
        let born_by_nanos = sys::coarse_nanos().saturating_sub(age_nanos);
        Snapshot::of_objects(self.parts(), self.period(), born_by_nanos)
    }

    /// Of the arena what each sample looks at.
    #[inline]
    fn opened(self) -> Option<(Region<'s>, InUse<'s>)> {
        let region = self.store.own_region()?;
        Some((region, InUse::open(region)?))
    }

    /// All of it. Cold.
    fn parts(self) -> Option<Parts<'s>> {
        self.store.own_region().and_then(Parts::open)
    }

    /// The first sample makes the tables.
    #[cold]
    fn make_parts(self, local: &Local, size_bytes: u64) -> Option<(Region<'s>, InUse<'s>)> {
        let _ = self.store.region_or_make();
        let opened = self.opened();
        if opened.is_none() {
            if self.store.has_failed() {
                sampler::decide(local, size_bytes, 0);
            } else {
                sampler::look_again_after(local, RETRY_BYTES);
            }
        }
        opened
    }

    #[inline]
    fn thinned_period(self, in_use: Option<InUse<'_>>) -> u64 {
        let period = self.period();
        match in_use.map_or(0, |in_use| in_use.thinning()) {
            0 => period,
            // 0 is off, and stays 0.
            thinning => period.saturating_mul(1u64.checked_shl(thinning).unwrap_or(u64::MAX)),
        }
    }
}

/// Counts an object that cannot be remembered as allocated and, at once, as freed.
#[cold]
fn count_lost(region: Region<'_>, reason: Lost, weight: &Weight) {
    if let Some(ledger) = Ledger::open(region, ledger::Name::HEAP) {
        ledger.count_lost(reason, |cells| {
            tally::add_allocated(cells, weight);
            tally::add_freed(cells, weight);
        });
    }
}

/// The upper bound of the sizes that share a bucket: multiples of 8 up to 1 KiB,
/// then eight classes a doubling, so that it is at most an eighth too large.
#[must_use]
pub fn size_class(size_bytes: u64) -> u64 {
    let step = match size_bytes {
        0..=1024 => 8,
        _ => 1u64 << ((size_bytes - 1).ilog2() - 3),
    };
    size_bytes
        .max(1)
        .checked_next_multiple_of(step)
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
