//! The heap's recorder: sampler, stack, table and in-use store joined.
//!
//! Context: sampled, but for [`Recorder::may_be_sampled`], which is hot, and what
//! says cold.
//! Invariant: the arena is made once and stays mapped at one address as long as
//! the recorder lives. All bits zero is the recorder's first state, so that the
//! process's one costs no bytes in the executable.
//!
//! ```text
//! sample: decide → reserve a place → capture → find the bucket → Ticket
//! commit: enter the epoch → count → publish the object → leave
//! take:   hold the object → Taken;  free: enter → count → release → leave
//! ```
//!
//! The first sample makes the arena. Nobody waits for it: an allocation that
//! comes in the meantime is looked at again later.

use std::fmt;
use std::mem;
use std::ops::Range;
use std::ptr;

use crate::arena::{Arena, Offset, Region, Root};
use crate::epoch::Epochs;
use crate::filter::Filter;
use crate::fork::Guard;
use crate::inuse::{Held, InUse, Object, Place};
use crate::local::{self, Local};
use crate::lost::Lost;
use crate::recording;
use crate::sampler::{self, Weight};
use crate::snapshot::{self, Snapshot};
use crate::stack::{self, MAX_DEPTH, Registers};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sys;
use crate::table::{Cells, Table};

/// Mean bytes between samples unless set otherwise: Go's and tcmalloc's figure.
pub const DEFAULT_PERIOD_BYTES: u64 = 512 * 1024;

/// Bytes that the recorder's tables may take unless set otherwise.
pub const DEFAULT_MEMORY_LIMIT_BYTES: usize = 64 << 20;

/// Records allocations and frees.
pub struct Recorder {
    filter: Filter,
    /// The arena's base; null until it is made. Written once, with Release.
    base: AtomicPtr<u8>,
    /// Bytes of the arena. Kept here because others may write a shared one's header.
    /// Written before `base`.
    len: AtomicUsize,
    /// One of the states below. Written by whoever makes the arena.
    state: AtomicU32,
    /// 1: the arena is a file that others see. Written before `base`, and in a
    /// fork's child when its tables are whole.
    shared: AtomicU32,
    /// How often the tables were made anew: places and buckets of before are
    /// void. Written in a fork's child, before it is done with taking note.
    tables: AtomicU32,
    /// How often the counters were cleared: what was taken before is not
    /// counted as freed. Written as `tables`.
    counters: AtomicU32,
    /// The period, xor the default. Written by anyone.
    period: AtomicU64,
    /// The limit, xor the default. Written before the arena is made.
    memory_limit: AtomicUsize,
    own_text_start: AtomicU64,
    own_text_limit: AtomicU64,
    /// How many modules the arena has copies of.
    modules: AtomicUsize,
    fork: Guard,
}

const UNMADE: u32 = 0;
/// Plus the process that makes it, as a child that was forked meanwhile has
/// nobody who would come to an end.
const MAKING: u32 = 1;
const READY: u32 = 2;
const FAILED: u32 = 3;
/// Where the process id begins in `MAKING`. Linux' go up to 2²².
const MAKER_SHIFT: u32 = 2;

/// How many allocated bytes later a thread looks again that found the tables
/// not there yet: little enough to lose next to nothing, enough not to be slow
/// where they are never made.
const RETRY_BYTES: i64 = 1024;

/// More samples than a signal handler takes while it interrupts one recorder.
const MOST_NESTED: u32 = 64;

/// A sampled allocation between the decision and the inner allocator's answer.
/// Dropped without [`Ticket::commit`], nothing is recorded.
#[derive(Debug)]
#[must_use]
pub struct Ticket<'a> {
    recorder: &'a Recorder,
    place: Place,
    bucket: Offset,
    weight: Weight,
    /// The recorder's `tables` when the place was reserved.
    tables: u32,
}

/// A sampled object taken out of the in-use store. Dropped: it was freed.
#[derive(Debug)]
#[must_use]
pub struct Taken<'a> {
    recorder: &'a Recorder,
    held: Held,
    /// The recorder's `tables` when it was taken.
    tables: u32,
    /// The recorder's `counters` then; none, if it was the parent's.
    counters: Option<u32>,
}

/// The recorder's structures, borrowed from its arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) region: Region<'a>,
    pub(crate) table: Table<'a>,
    pub(crate) in_use: InUse<'a>,
    pub(crate) epochs: &'a Epochs,
}

impl<'a> Parts<'a> {
    fn create(region: Region<'a>) -> Option<Self> {
        let table = Table::create(region)?;
        let in_use = InUse::create(region)?;
        let at = region.alloc::<Epochs>(0)?;
        region.set_root(Root::HeapEpochs, at)?;
        Some(Self {
            region,
            table,
            in_use,
            epochs: region.get(at)?,
        })
    }

    pub(crate) fn open(region: Region<'a>) -> Option<Self> {
        let epochs = region.get(region.root(Root::HeapEpochs)?)?;
        Some(Self {
            region,
            table: Table::open(region)?,
            in_use: InUse::open(region)?,
            epochs,
        })
    }

    /// Counts in the current epoch's cells of a bucket.
    fn count(&self, bucket: Offset, count: impl FnOnce(&Cells)) {
        let entered = self.epochs.enter();
        if let Some(cells) = self
            .table
            .bucket(bucket)
            .and_then(|bucket| bucket.cells(entered.side()))
        {
            count(cells);
        }
    }

    /// Counts what cannot be followed until it is freed as freed at once.
    fn count_lost(&self, reason: Lost, weight: &Weight) {
        if let Some(bucket) = self.table.lost(reason) {
            self.count(bucket, |cells| {
                cells.alloc.add(weight);
                cells.freed.add(weight);
            });
        }
    }
}

impl Recorder {
    /// An idle recorder with the default period.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "64 KiB: to be placed, not passed"
    )]
    pub const fn new() -> Self {
        Self {
            filter: Filter::new(),
            base: AtomicPtr::new(ptr::null_mut()),
            len: AtomicUsize::new(0),
            state: AtomicU32::new(UNMADE),
            shared: AtomicU32::new(0),
            tables: AtomicU32::new(0),
            counters: AtomicU32::new(0),
            period: AtomicU64::new(0),
            memory_limit: AtomicUsize::new(0),
            own_text_start: AtomicU64::new(0),
            own_text_limit: AtomicU64::new(0),
            modules: AtomicUsize::new(0),
            fork: Guard::new(),
        }
    }

    /// Decides whether the allocation that made the countdown run out is
    /// recorded; captures its stack and finds its bucket if so.
    #[cold]
    pub fn sample(&self, size_bytes: usize, registers: &Registers) -> Option<Ticket<'_>> {
        let skip = self.own_text();
        local::with(|local| {
            self.sample_with(local, size_bytes, registers.sp, |stack| {
                stack::capture(registers, &local.stack, stack, &skip).depth
            })
        })
    }

    /// As [`Recorder::sample`], with any thread state and any source of stacks:
    /// `capture` fills its argument from the front and says how far.
    pub fn sample_with(
        &self,
        local: &Local,
        size_bytes: usize,
        sp: u64,
        capture: impl FnOnce(&mut [u64]) -> usize,
    ) -> Option<Ticket<'_>> {
        if local.excluded.get() {
            local.countdown.set(i64::MAX);
            return None;
        }
        // A recorder at work further down the stack was interrupted by a signal
        // handler that allocates, or called something that does. One whose frame
        // is gone was left by longjmp; so was one that does not come to its end
        // however many samples are due below it. (Should it be at work after all,
        // nothing breaks: only its handler's stack is walked as well.)
        let outer = local.busy_below.get();
        let in_a_row = local.nested.get();
        let nested = outer != 0 && sp < outer && in_a_row < MOST_NESTED;
        local.nested.set(if nested { in_a_row + 1 } else { 0 });
        local.busy_below.set(sp);
        let ticket = self.admit(local, size_bytes as u64, nested, capture);
        if nested {
            local.busy_below.set(outer);
        } else {
            local.busy_below.set(0);
            local.nested.set(0);
        }
        ticket
    }

    fn admit(
        &self,
        local: &Local,
        size_bytes: u64,
        nested: bool,
        capture: impl FnOnce(&mut [u64]) -> usize,
    ) -> Option<Ticket<'_>> {
        if nested && self.state.load(Ordering::Acquire) != READY {
            return None;
        }
        let Some(parts) = self.parts_or_make() else {
            if self.state.load(Ordering::Relaxed) == FAILED {
                sampler::decide(local, size_bytes, 0);
            } else {
                sampler::look_again_after(local, RETRY_BYTES);
            }
            return None;
        };
        let weight = sampler::decide(local, size_bytes, self.thinned_period(&parts))?;
        if nested {
            parts.count_lost(Lost::Reentry, &weight);
            return None;
        }
        let Some(place) = parts.in_use.reserve() else {
            parts.count_lost(Lost::InUseFull, &weight);
            return None;
        };
        let class = size_class(size_bytes);
        let bucket = if stack::depth_limit() <= SHALLOW {
            bucket_of::<SHALLOW>(&parts, class, capture)
        } else {
            bucket_of::<MAX_DEPTH>(&parts, class, capture)
        };
        let Some(bucket) = bucket else {
            parts.in_use.unreserve(place);
            return None;
        };
        // Relaxed: a figure. Of private tables nobody else names addresses.
        if self.shared.load(Ordering::Relaxed) != 0 {
            recording::copy_new_modules(parts.region, &self.modules);
        }
        Some(Ticket {
            recorder: self,
            place,
            bucket,
            weight,
            // Relaxed: changes in a fork's child only, in `parts`.
            tables: self.tables.load(Ordering::Relaxed),
        })
    }

    /// False: the object at `address` is certainly not a sampled one.
    #[inline(always)]
    #[must_use]
    pub fn may_be_sampled(&self, address: usize) -> bool {
        self.filter.may_hold(address)
    }

    /// Takes the sampled object at `address` out of the in-use store. To be done
    /// before the inner allocator gets it back: the next owner of the address may
    /// be sampled at once.
    #[cold]
    pub fn take(&self, address: usize) -> Option<Taken<'_>> {
        let (parts, counters) = match self.parts() {
            // Relaxed: changes in a fork's child only, in `parts`.
            Some(parts) => (parts, Some(self.counters.load(Ordering::Relaxed))),
            None => (self.parts_meanwhile()?, None),
        };
        let held = parts.in_use.hold(address)?;
        Some(Taken {
            recorder: self,
            held,
            // Relaxed: as above.
            tables: self.tables.load(Ordering::Relaxed),
            counters,
        })
    }

    /// Mean bytes between samples; 0 is off.
    #[must_use]
    pub fn period(&self) -> u64 {
        // Relaxed, here and below: a figure of its own.
        self.period.load(Ordering::Relaxed) ^ DEFAULT_PERIOD_BYTES
    }

    /// Sets the mean bytes between samples; 0 is off. Threads learn of it at
    /// their next sample, or after 64 MiB. What is recorded keeps its weight.
    pub fn set_period(&self, bytes: u64) {
        self.period
            .store(bytes ^ DEFAULT_PERIOD_BYTES, Ordering::Relaxed);
        if let Some(parts) = self.parts() {
            parts
                .region
                .header()
                .heap_period_bytes
                .store(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes that the tables may take.
    #[must_use]
    pub fn memory_limit(&self) -> usize {
        self.memory_limit.load(Ordering::Relaxed) ^ DEFAULT_MEMORY_LIMIT_BYTES
    }

    /// Sets how many bytes the tables may take. False: too late, they are made.
    pub fn set_memory_limit(&self, bytes: usize) -> bool {
        self.memory_limit
            .store(bytes ^ DEFAULT_MEMORY_LIMIT_BYTES, Ordering::Relaxed);
        self.state.load(Ordering::Relaxed) == UNMADE
    }

    /// Bytes that the tables take.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.parts().map_or(0, |parts| parts.region.used_bytes())
    }

    /// Leading frames with a pc in this range are left out of stacks: the code
    /// of a library that is itself beneath `malloc`.
    pub fn set_own_text(&self, text: Range<u64>) {
        self.own_text_start.store(text.start, Ordering::Relaxed);
        self.own_text_limit.store(text.end, Ordering::Relaxed);
    }

    /// Records in the file behind `fd`, whose `len` bytes are zero, so that
    /// another process can read the tables, even after this one's death. False:
    /// the file cannot be mapped or is in use, or tables are there already. Cold.
    ///
    /// A fork's child forgets the objects of such a recorder, as their records
    /// are its parent's: they must all be committed with shift 0.
    pub fn init_shared(&self, fd: i32, len: usize) -> bool {
        self.make(|| Arena::shared(fd, len), true).is_some()
    }

    /// In a fork's child: goes on in a file of its own, whose `len` bytes are
    /// zero and as many as the parent's. False: that cannot be had; the tables
    /// are then private and empty. Cold; only one thread may be running.
    pub fn move_to(&self, fd: i32, len: usize) -> bool {
        // Acquire: pairs with the Release in `make`.
        if self.state.load(Ordering::Acquire) != READY {
            return self.init_shared(fd, len);
        }
        let _ = self.parts();
        let Some(region) = self.region() else {
            return false;
        };
        if len != region.capacity_bytes() {
            return false;
        }
        // First: a child that is forked in the middle must not write there.
        self.shared.store(1, Ordering::Relaxed);
        // SAFETY: the recorder's whole mapping; this is the process's only
        // thread, and it holds no reference into it.
        let moved = unsafe { sys::replace_with_file(region.base(), len, fd) };
        // A mapping that could not be replaced may be gone all the same.
        // SAFETY: as above.
        if !moved && !unsafe { sys::replace_with_private(region.base(), len) } {
            self.state.store(FAILED, Ordering::Relaxed);
            return false;
        }
        self.begin_anew(region, moved);
        moved
    }

    /// A consistent copy of all buckets. Cold. Recorders do not wait for it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        snapshot::of_recorder(self.parts(), self.period())
    }

    /// What is in use and was allocated more than `age_nanos` ago. Cold.
    #[must_use]
    pub fn snapshot_older_than(&self, age_nanos: u64) -> Snapshot<'_> {
        snapshot::of_objects(
            self.parts(),
            self.period(),
            sys::coarse_nanos().saturating_sub(age_nanos),
        )
    }

    /// Makes the tables now, if they are not made yet. Cold.
    pub fn prepare(&self) {
        let _ = self.parts_or_make();
    }

    fn own_text(&self) -> Range<u64> {
        self.own_text_start.load(Ordering::Relaxed)..self.own_text_limit.load(Ordering::Relaxed)
    }

    fn thinned_period(&self, parts: &Parts<'_>) -> u64 {
        match self.period() {
            0 => 0,
            period => period.saturating_mul(
                1u64.checked_shl(parts.in_use.thinning())
                    .unwrap_or(u64::MAX),
            ),
        }
    }

    /// The structures, if they are made and are this process's own.
    fn parts(&self) -> Option<Parts<'_>> {
        if !self.is_ready() {
            return None;
        }
        let region = self.region()?;
        if self.fork.happened() && !(self.fork.once(|| self.become_own(region)) && self.is_ready())
        {
            return None;
        }
        Parts::open(region)
    }

    /// The structures while somebody else of a fork's child takes note. Private
    /// ones are whole all the time, and the objects in them keep their places:
    /// whoever frees one must learn of its shift, now.
    #[cold]
    fn parts_meanwhile(&self) -> Option<Parts<'_>> {
        // Acquire: pairs with the Release in `begin_anew`; the tables are whole.
        if !self.is_ready() || self.shared.load(Ordering::Acquire) != 0 {
            return None;
        }
        Parts::open(self.region()?)
    }

    /// The structures that hold what was reserved or taken when `tables` was so;
    /// none, if a fork's child has made new ones since.
    fn parts_of(&self, tables: u32) -> Option<Parts<'_>> {
        let parts = self.parts().or_else(|| self.parts_meanwhile())?;
        // Relaxed: changes in a fork's child only, in `parts` by this thread.
        (self.tables.load(Ordering::Relaxed) == tables).then_some(parts)
    }

    fn is_ready(&self) -> bool {
        // Acquire: pairs with the Release in `make`.
        self.state.load(Ordering::Acquire) == READY
    }

    fn region(&self) -> Option<Region<'_>> {
        // Acquire: pairs with the Release in `make`.
        let base = ptr::NonNull::new(self.base.load(Ordering::Acquire))?;
        // Relaxed: written before the base.
        let len = self.len.load(Ordering::Relaxed);
        // SAFETY: `make` stored base and length of an arena with a header, which
        // stays mapped as long as the recorder lives.
        Some(unsafe { Region::from_parts(base, len) })
    }

    fn parts_or_make(&self) -> Option<Parts<'_>> {
        // Relaxed: `make` and `parts` look again.
        match self.state.load(Ordering::Relaxed) {
            READY | FAILED => self.parts(),
            _ => self.make(|| Arena::anonymous(self.memory_limit()), false),
        }
    }

    #[cold]
    fn make(&self, arena: impl FnOnce() -> Option<Arena>, shared: bool) -> Option<Parts<'_>> {
        let making = MAKING | sys::process_id() << MAKER_SHIFT;
        // Relaxed: only one thread goes on; it reads nothing of others.
        let seen = self.state.load(Ordering::Relaxed);
        let abandoned = seen != making && is_making(seen) && self.fork.happened();
        if seen != UNMADE && !abandoned {
            return None;
        }
        // Acquire: if abandoned, what the parent's thread wrote is simply there.
        self.state
            .compare_exchange(seen, making, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        // Not null: the parent's thread had the arena made, and it is whole. It
        // is taken over as after any other fork.
        if self.base.load(Ordering::Acquire).is_null() {
            self.fork.arm();
            let arena = arena().filter(|arena| Parts::create(arena.region()).is_some());
            let Some(arena) = arena else {
                self.state.store(FAILED, Ordering::Relaxed);
                return None;
            };
            arena
                .region()
                .header()
                .heap_period_bytes
                .store(self.period(), Ordering::Relaxed);
            self.shared.store(u32::from(shared), Ordering::Relaxed);
            let (base, len) = arena.into_parts();
            self.len.store(len, Ordering::Relaxed);
            // Release: publishes the above. Pairs with the Acquire in `region`.
            self.base.store(base.as_ptr(), Ordering::Release);
        }
        // Release: publishes all of the above. Pairs with the Acquire in `is_ready`.
        self.state.store(READY, Ordering::Release);
        self.parts()
    }

    /// In a fork's child: the tables become this process's own, and empty.
    fn become_own(&self, region: Region<'_>) {
        if self.shared.load(Ordering::Relaxed) != 0 {
            // SAFETY: the recorder's whole mapping. What it held is the parent's;
            // references into it are used by nobody: the child has one thread.
            if unsafe { sys::replace_with_private(region.base(), region.capacity_bytes()) } {
                self.begin_anew(region, false);
            } else {
                self.state.store(FAILED, Ordering::Relaxed);
            }
            return;
        }
        // Relaxed: seen by this thread, and by others after the guard is armed.
        self.counters.fetch_add(1, Ordering::Relaxed);
        // Objects keep their places: their frees must still find the shift.
        if let Some(parts) = Parts::open(region) {
            parts.table.clear_counters();
            parts.in_use.disown_all();
            parts.epochs.reset();
        }
        region
            .header()
            .process_id
            .store(u64::from(sys::process_id()), Ordering::Relaxed);
        region
            .header()
            .started_unix_nanos
            .store(sys::unix_nanos(), Ordering::Relaxed);
    }

    /// Fresh tables in a mapping that has just been replaced by zeroes.
    fn begin_anew(&self, region: Region<'_>, shared: bool) {
        // Relaxed: seen by this thread, and by others after the guard is armed.
        self.tables.fetch_add(1, Ordering::Relaxed);
        // SAFETY: zeroed, as large as before, and used by this thread alone.
        unsafe { crate::arena::init_header(region.base(), region.capacity_bytes()) };
        self.filter.clear();
        self.modules.store(0, Ordering::Relaxed);
        region
            .header()
            .heap_period_bytes
            .store(self.period(), Ordering::Relaxed);
        if Parts::create(region).is_none() {
            self.state.store(FAILED, Ordering::Relaxed);
        }
        // Last: a child that is forked before must do all this again. Release:
        // pairs with the Acquire in `parts_meanwhile`.
        self.shared.store(u32::from(shared), Ordering::Release);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("period", &self.period())
            .finish_non_exhaustive()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(region) = self.region() {
            let (base, len) = (region.base(), region.capacity_bytes());
            // SAFETY: from `into_parts` in `make`; tickets, taken objects and
            // snapshots borrow the recorder, so none is left.
            drop(unsafe { Arena::from_parts(base, len) });
        }
    }
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

fn is_making(state: u32) -> bool {
    state & ((1 << MAKER_SHIFT) - 1) == MAKING
}

/// Depth up to which a capture's scratch is 1 KiB of stack; beyond it is 8 KiB,
/// which only those pay who raise the limit.
const SHALLOW: usize = stack::DEFAULT_DEPTH;

/// Apart from its caller, so that the scratch is not on the stack of what follows.
#[inline(never)]
fn bucket_of<const DEPTH: usize>(
    parts: &Parts<'_>,
    class: u64,
    capture: impl FnOnce(&mut [u64]) -> usize,
) -> Option<Offset> {
    let mut scratch = [0; DEPTH];
    let depth = capture(&mut scratch);
    let stack = match scratch.get(..depth) {
        Some(stack) if depth > 0 => stack,
        _ => &[Lost::NoStack.pc()],
    };
    parts
        .table
        .find_or_insert(stack, class)
        .or_else(|| parts.table.lost(Lost::TableFull))
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
