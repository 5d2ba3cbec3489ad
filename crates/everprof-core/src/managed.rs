//! Managed heaps: those that a collector frees late, each with its own profile.
//!
//! Context: sampled, but for [`Heap::is_due`] and [`Heap::may_be_sampled`], which are
//! hot, and what says cold. [`Heap::next_cycle`] may be called at any time.
//! Invariant: what a sample adds towards a cycle, its free takes off towards the same
//! or a later one (`cycle`), by the weight that the in-use store keeps.
//!
//! ```text
//! alloc: decide → capture → bucket → row │ enter the cycle → count → publish object → leave
//! free:            take the object out   │ enter the cycle → count → release        → leave
//! flush: wait for those who entered two and one cycles ago → move their slot
//! ```
//!
//! No event waits for a flush or a reader. Each heap has an arena of its own, which is
//! gone with it; so its memory is limited and counted apart from the profiler's other.
//! A fork's child begins with an empty one: what its parent had allocated is not found
//! when it is freed there, and counts nothing.

use crate::arena::{self, Arena, Region};
use crate::cycle::{Clock, Cycle, Lock};
use crate::filter::Filter;
use crate::fork::Guard;
use crate::heap::{size_class, tally};
use crate::inuse::Object;
use crate::local::Local;
use crate::lost::Lost;
use crate::sampler::{self, Weight};
use crate::scratch;
use crate::stack::{self, Registers};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys;
use crate::table::{Counters, Key};
use parts::Parts;
pub use snapshot::{Bucket, Snapshot};
use stages::Row;

mod extra;
mod parts;
mod snapshot;
pub mod stages;
pub(crate) mod types;

/// How long a flush waits for an event that does not come to its end. Counting takes
/// well under a microsecond; a thread that is not scheduled in between takes a few
/// milliseconds on a busy machine. What is counted later is published later.
const PATIENCE_NANOS: u64 = 10_000_000;

/// Less has no room for one chunk of counters beside the heads of the tables.
const LEAST_BYTES: usize = 512 << 10;

/// A heap with deferred frees.
#[derive(Debug)]
pub struct Heap {
    clock: Clock,
    /// Which addresses may be those of sampled objects.
    filter: Box<Filter>,
    arena: Arena,
    /// Mean bytes between samples; 0: off. Written by anyone.
    period: AtomicU64,
    /// The same, raised where room is short. Written with it and by every sample.
    thinned_period: AtomicU64,
    /// 1: what is published is the heap at a mark termination. Written under the lock.
    completed: AtomicU32,
    /// How often everything was made anew. Written in a fork's child.
    made: AtomicU32,
    fork: Guard,
}

/// What is to be recorded of an allocation.
#[derive(Clone, Copy, Debug)]
pub struct Allocation<'t> {
    /// Where the object stands, or any other number that it has alone until it is freed.
    pub address: usize,
    /// Its bytes.
    pub size_bytes: usize,
    /// The name of its type, if it has one.
    pub type_name: Option<&'t str>,
    /// The label set in force; 0: none.
    pub labels: u32,
}

/// Who freed an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// The program, at the time when it says so.
    Explicitly,
    /// The sweep: it had been garbage at the last mark termination.
    BySweep,
}

impl Heap {
    /// A heap that has allocated nothing, whose records take at most `limit_bytes`.
    /// `None`: there is no memory. Cold.
    #[must_use]
    pub fn new(limit_bytes: usize, period_bytes: u64) -> Option<Self> {
        Self::starting_at(Cycle::of(0), limit_bytes, period_bytes)
    }

    /// As [`Heap::new`], with a clock that has gone on for some cycles.
    #[doc(hidden)]
    #[must_use]
    pub fn starting_at(cycle: Cycle, limit_bytes: usize, period_bytes: u64) -> Option<Self> {
        let arena = Arena::anonymous(limit_bytes.max(LEAST_BYTES))?;
        Parts::create(arena.region())?;
        let fork = Guard::new();
        fork.arm_first();
        Some(Self {
            clock: Clock::starting_at(cycle),
            filter: Filter::boxed(),
            arena,
            period: AtomicU64::new(period_bytes),
            thinned_period: AtomicU64::new(period_bytes),
            completed: AtomicU32::new(0),
            made: AtomicU32::new(0),
            fork,
        })
    }

    /// Counts an allocation towards the next sample; true when it is due.
    #[inline]
    #[must_use]
    pub fn is_due(&self, local: &Local, size_bytes: usize) -> bool {
        let left = local.countdown.get().wrapping_sub(size_bytes.max(1) as i64);
        local.countdown.set(left);
        // Relaxed: a figure of its own.
        left < 0 || local.gap_period.get() != self.thinned_period.load(Ordering::Relaxed)
    }

    /// Decides whether the allocation that was due is recorded; records it if so.
    #[cold]
    pub fn record_due(&self, local: &Local, allocation: &Allocation<'_>, registers: &Registers) {
        self.record_due_with(local, allocation, |out| {
            stack::capture(registers, &local.stack, out, &(0..0)).depth
        });
    }

    /// As [`Heap::record_due`], with any source of stacks: `capture` fills its argument
    /// from the front and says how far.
    pub fn record_due_with(
        &self,
        local: &Local,
        allocation: &Allocation<'_>,
        capture: impl FnOnce(&mut [u64]) -> usize,
    ) {
        let size_bytes = allocation.size_bytes as u64;
        let (Some(region), made) = (self.own_region(), self.made()) else {
            return;
        };
        let Some(parts) = Parts::open(region) else {
            return;
        };
        let period = self.thin(&parts);
        if local.gap_period.get() != period {
            // The gap under way was drawn for another heap, or before the period was
            // changed. No gap has a memory: a new one begins with this object.
            sampler::restart(local);
            local
                .countdown
                .set((size_bytes.max(1) as i64).saturating_neg());
        }
        let Some(weight) = sampler::decide(local, size_bytes, period) else {
            return;
        };
        let Some(place) = parts.in_use.reserve() else {
            self.count_lost(&parts, Lost::InUseFull, &weight);
            return;
        };
        let row = scratch::captured(capture, |stack| row_of(&parts, allocation, stack));
        // A handler that interrupted this thread may have forked: the place is gone.
        let (Some(row), true) = (row, self.made() == made) else {
            parts.in_use.unreserve(place);
            return;
        };
        let entered = self.clock.enter();
        let towards = entered.allocated();
        if let Some(cells) = parts.stages.cells(row, towards.slot()) {
            tally::add_allocated(cells, &weight);
        }
        let object = Object {
            bucket: row.offset(),
            weight,
            shift: 0,
            born: towards.number(),
        };
        let key = key_of(allocation.address);
        parts.in_use.publish(place, key, &object);
        self.filter.add(key);
    }

    /// False: the object at `address` is certainly not a sampled one.
    #[inline]
    #[must_use]
    pub fn may_be_sampled(&self, address: usize) -> bool {
        self.filter.may_hold(key_of(address))
    }

    /// Records the free of the object at `address`, if it was sampled. To be done
    /// before the address can be allocated again.
    #[cold]
    pub fn record_free(&self, address: usize, by: Freed) {
        let Some(parts) = self.parts() else {
            return;
        };
        let Some(held) = parts.in_use.hold(key_of(address)) else {
            return;
        };
        let entered = self.clock.enter();
        let towards = match by {
            Freed::Explicitly => entered.freed(),
            Freed::BySweep => entered.swept(Cycle::of(held.object.born)),
        };
        let row = Row::at(held.object.bucket);
        if let Some(cells) = parts.stages.cells(row, towards.slot()) {
            tally::add_freed(cells, &held.object.weight);
        }
        parts.in_use.release(&held);
        self.filter.remove(held.address());
    }

    /// Marking has ended: what is garbage now will be swept. Constant time, no lock; may
    /// be called while all other threads are stopped. False: the cycle has not been
    /// flushed, and goes on.
    pub fn next_cycle(&self) -> bool {
        self.clock.next_cycle()
    }

    /// Publishes what counts towards this cycle; once in a cycle, else nothing. Cold,
    /// and not while other threads are stopped: one may be in the middle of counting.
    pub fn flush(&self) {
        if let Some(parts) = self.parts() {
            self.flush_locked(&parts, &self.clock.lock());
        }
    }

    /// Sweeping has ended: publishes what counts towards the next cycle, without
    /// beginning it. Cold, as [`Heap::flush`], which it does first.
    pub fn post_sweep(&self) {
        let Some(parts) = self.parts() else {
            return;
        };
        let lock = self.clock.lock();
        self.flush_locked(&parts, &lock);
        let cycle = self.clock.now();
        // The sweep's last calls may, against what was promised, still be counting.
        let slot = cycle.plus(1).slot();
        parts.stages.publish(slot, Counters::InUse);
        self.note_completed(cycle, 1);
    }

    fn flush_locked(&self, parts: &Parts<'_>, lock: &Lock<'_>) {
        let Some(cycle) = lock.unflushed() else {
            return;
        };
        let deadline = sys::monotonic_nanos().saturating_add(PATIENCE_NANOS);
        let mut counters = Counters::AtRest;
        for before in [cycle.minus(1), cycle.minus(2)] {
            while !lock.settled(before) {
                if sys::monotonic_nanos() > deadline {
                    counters = Counters::InUse;
                    break;
                }
                sys::pause_briefly();
            }
        }
        parts.stages.publish(cycle.slot(), counters);
        lock.set_flushed();
        self.note_completed(cycle, 2);
    }

    /// Allocations begin two cycles after the clock: until their first cycle has been
    /// published there is no mark termination to show.
    fn note_completed(&self, cycle: Cycle, least: u64) {
        // Relaxed: under the lock. Set once, so that a wrapped number changes nothing.
        if cycle.number() >= least {
            self.completed.store(1, Ordering::Relaxed);
        }
    }

    /// The heap at the last mark termination whose sweep was published; where there was
    /// none yet, all that is recorded. Cold. Recorders do not wait for it, a flush does.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        let parts = self.parts();
        let lock = self.clock.lock();
        // Relaxed: under the lock.
        let completed = self.completed.load(Ordering::Relaxed) != 0;
        let snapshot = Snapshot::of(parts, completed, self.period());
        drop(lock);
        snapshot
    }

    /// The cycle now.
    #[must_use]
    pub fn cycle(&self) -> Cycle {
        self.clock.now()
    }

    /// Mean bytes between samples; 0 is off.
    #[must_use]
    pub fn period(&self) -> u64 {
        // Relaxed, here and below: figures.
        self.period.load(Ordering::Relaxed)
    }

    /// Sets the mean bytes between samples, from each thread's next allocation on.
    pub fn set_period(&self, bytes: u64) {
        self.period.store(bytes, Ordering::Relaxed);
        self.thinned_period.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that the records take.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.arena.region().used_bytes()
    }

    /// Objects that are remembered. Cold.
    #[must_use]
    pub fn remembered(&self) -> u64 {
        Parts::open(self.arena.region()).map_or(0, |parts| parts.in_use.load().0)
    }

    /// The period in force, raised where room is short.
    fn thin(&self, parts: &Parts<'_>) -> u64 {
        let thinned = match self.period() {
            0 => 0,
            period => period.saturating_mul(
                1u64.checked_shl(parts.in_use.thinning())
                    .unwrap_or(u64::MAX),
            ),
        };
        // Relaxed, both: figures; written where it changes only.
        if self.thinned_period.load(Ordering::Relaxed) != thinned {
            self.thinned_period.store(thinned, Ordering::Relaxed);
        }
        thinned
    }

    /// Counts what cannot be followed until it is freed as freed at once.
    fn count_lost(&self, parts: &Parts<'_>, reason: Lost, weight: &Weight) {
        let entered = self.clock.enter();
        let slot = entered.allocated().slot();
        if let Some(cells) = parts
            .lost_row(reason)
            .and_then(|row| parts.stages.cells(row, slot))
        {
            tally::add_allocated(cells, weight);
            tally::add_freed(cells, weight);
        }
    }

    /// What stands in the arena, as far as it is this process's.
    #[inline]
    fn parts(&self) -> Option<Parts<'_>> {
        self.own_region().and_then(Parts::open)
    }

    /// The arena, unless another thread of a fork's child is taking note.
    fn own_region(&self) -> Option<Region<'_>> {
        let region = self.arena.region();
        let is_own = !self.fork.happened() || self.fork.once(|| self.begin_anew(region));
        is_own.then_some(region)
    }

    fn made(&self) -> u32 {
        // Relaxed: changes in a fork's child only, in `own_region` by this thread.
        self.made.load(Ordering::Relaxed)
    }

    /// In a fork's child: everything is empty again.
    fn begin_anew(&self, region: Region<'_>) {
        let (base, len) = (region.base(), region.capacity_bytes());
        // SAFETY: the heap's whole mapping. What it held is the parent's; references
        // into it are used by nobody: the child has one thread that knows the heap.
        if unsafe { sys::replace_with_private(base, len) } {
            // SAFETY: zeroed, as large as before, and used by this thread alone.
            unsafe { arena::init_header(base, len) };
        }
        // Relaxed: see `made`.
        self.made.fetch_add(1, Ordering::Relaxed);
        self.filter.clear();
        self.clock.restart_at(Cycle::of(0));
        self.completed.store(0, Ordering::Relaxed);
        // There was room for them in the parent.
        let _ = Parts::create(region);
    }
}

/// How the in-use store knows an object. It keeps 0 and 1 for itself, where no object
/// of the global allocator stands; a managed heap may know its objects by handles that
/// begin there. With the topmost bit flipped those two are addresses that nobody has.
#[inline]
const fn key_of(address: usize) -> usize {
    address ^ (1 << (usize::BITS - 1))
}

/// Where an allocation by this stack is counted.
fn row_of(parts: &Parts<'_>, allocation: &Allocation<'_>, stack: &[u64]) -> Option<Row> {
    let type_number = allocation
        .type_name
        .map_or(types::NONE, |name| parts.types.number(name));
    parts.row(&Key {
        stack,
        extra: extra::pack(size_class(allocation.size_bytes as u64), type_number),
        labels: allocation.labels,
    })
}

#[cfg(test)]
mod tests;
