//! The cold side of an allocation or a free: sampled, traced, both, or neither.
//!
//! Context: sampled. Invariant: of one event the sampler is asked at most once, and what it
//! decides does not depend on whether a trace is taken.
//!
//! ```text
//! allocating: count ─→ sampler's? heap::sample ─→ traced? tracer::begin ─→ Allocating
//! commit:     in-use store, marks, event      freeing: marks, in-use store ─→ Freeing
//! ```

use crate::heap::{self, Taken, Ticket};
use crate::local;
use crate::stack::Registers;
use crate::store::Store;
use crate::trace::{self, From, Mark, Tracer};

/// The recorders that an allocator tells of its events.
#[derive(Clone, Copy, Debug)]
pub struct Recorders<'s> {
    store: &'s Store,
    tracer: &'s Tracer,
}

/// An allocation under way that somebody wants to know of. Dropped, it failed.
#[derive(Debug)]
#[must_use]
pub struct Allocating<'s> {
    tracer: &'s Tracer,
    ticket: Option<Ticket<'s>>,
    traced: Option<trace::Allocation>,
}

/// An object that is about to go. Dropped: it went.
#[derive(Debug)]
#[must_use]
pub struct Freeing<'s> {
    tracer: &'s Tracer,
    address: usize,
    taken: Option<Taken<'s>>,
    mark: Option<Mark>,
    /// Its going is an event, of this time.
    went: Option<u64>,
}

impl<'s> Recorders<'s> {
    /// The heap's recorder that writes to `store`, and `tracer`.
    #[must_use]
    #[inline(always)]
    pub const fn of(store: &'s Store, tracer: &'s Tracer) -> Self {
        Self { store, tracer }
    }

    /// An allocation that the fast path found due; none, if nobody wants it.
    #[cold]
    pub fn allocating(self, size_bytes: usize, registers: &Registers) -> Option<Allocating<'s>> {
        let is_samplers = local::with(|local| self.tracer.count(local, size_bytes));
        let ticket = if is_samplers {
            heap::Recorder::of(self.store).sample(size_bytes, registers)
        } else {
            None
        };
        let traced = local::with(|local| {
            if self.tracer.sees(local) {
                let skip = self.store.own_text();
                self.tracer.begin(local, size_bytes, registers, &skip)
            } else {
                None
            }
        });
        (ticket.is_some() || traced.is_some()).then_some(Allocating {
            tracer: self.tracer,
            ticket,
            traced,
        })
    }

    /// False: nobody wants to know that the object at `address` goes.
    #[inline(always)]
    #[must_use]
    pub fn may_be_wanted(self, address: usize) -> bool {
        self.store.filter().may_hold(address)
    }

    /// An object that goes, if somebody knows of it. To be done before the inner allocator
    /// gets its block back.
    #[cold]
    pub fn freeing(self, address: usize) -> Option<Freeing<'s>> {
        let mark = self.tracer.take_mark(address as u64);
        let taken = if self.store.filter().may_hold_sample(address) {
            heap::Recorder::of(self.store).take(address)
        } else {
            None
        };
        let is_event = mark.is_some() && self.tracer.is_on();
        (mark.is_some() || taken.is_some()).then_some(Freeing {
            tracer: self.tracer,
            address,
            taken,
            mark,
            went: is_event.then(trace::ticks),
        })
    }

    /// As [`Recorders::freeing`], of an allocator that marks no objects. While a trace is taken,
    /// each object that goes is an event, but on threads of everprof's own.
    #[cold]
    pub fn freeing_unmarked(self, address: usize) -> Option<Freeing<'s>> {
        let taken = if self.store.filter().may_hold_sample(address) {
            heap::Recorder::of(self.store).take(address)
        } else {
            None
        };
        let is_event = self.tracer.is_on() && !local::with(|local| local.excluded.get());
        (is_event || taken.is_some()).then_some(Freeing {
            tracer: self.tracer,
            address,
            taken,
            mark: None,
            went: is_event.then(trace::ticks),
        })
    }
}

impl<'s> Allocating<'s> {
    /// The object stands at `address`, `shift` bytes into the inner block; the shift is 0 or
    /// a power of two. It may be marked.
    #[inline]
    pub fn commit(self, address: usize, shift: usize) {
        self.mark(address, shift);
        self.record(None, address, shift);
    }

    /// As [`Allocating::commit`], of an object that begins its block and may not be marked.
    #[inline]
    pub fn commit_unmarked(self, address: usize) {
        self.record(None, address, 0);
    }

    /// As [`Allocating::commit`], of a reallocation: the object stood at `from`, and `old`
    /// is what was known of it there.
    pub fn commit_moved(self, from: usize, old: Option<Freeing<'s>>, address: usize, shift: usize) {
        self.mark(address, shift);
        let from = self.settle(from, old);
        self.record(Some(from), address, shift);
    }

    /// As [`Allocating::commit_moved`], of an object that may not be marked.
    pub fn commit_moved_unmarked(self, from: usize, old: Option<Freeing<'s>>, address: usize) {
        let from = self.settle(from, old);
        self.record(Some(from), address, 0);
    }

    fn mark(&self, address: usize, shift: usize) {
        if self.traced.is_some() {
            let moved = shift != 0;
            self.tracer.mark(address as u64, Mark { moved });
        }
    }

    /// The old object is gone; to a trace that is part of the one event.
    fn settle(&self, address: usize, old: Option<Freeing<'s>>) -> From {
        let mut ticks = None;
        if let Some(mut old) = old
            && self.traced.is_some()
        {
            ticks = old.went.take();
        }
        From {
            address: address as u64,
            ticks,
        }
    }

    fn record(self, from: Option<From>, address: usize, shift: usize) {
        if let Some(ticket) = self.ticket {
            ticket.commit(address, shift);
        }
        let Some(traced) = self.traced else {
            return;
        };
        local::with(|local| match from {
            Some(from) => self.tracer.reallocated(local, traced, from, address as u64),
            None => self.tracer.allocated(local, traced, address as u64),
        });
    }
}

impl Freeing<'_> {
    /// How far into the inner block the object stands, as given to `commit`; of a marked one
    /// 0, or something else.
    #[must_use]
    #[inline]
    pub fn shift(&self) -> usize {
        match (&self.taken, self.mark) {
            (Some(taken), _) => taken.shift(),
            (None, Some(mark)) => usize::from(mark.moved),
            (None, None) => 0,
        }
    }

    /// The object did not go after all (a realloc that failed).
    pub fn restore(mut self) {
        self.went = None;
        if let Some(mark) = self.mark {
            self.tracer.mark(self.address as u64, mark);
        }
        if let Some(taken) = self.taken.take() {
            taken.restore();
        }
    }
}

impl Drop for Freeing<'_> {
    fn drop(&mut self) {
        // Dropping what was taken takes it off the books.
        self.taken = None;
        if let Some(ticks) = self.went {
            local::with(|local| self.tracer.freed(local, ticks, self.address as u64));
        }
    }
}
