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
//! The first sample makes the arena (`tables`). Nobody waits for it: an allocation
//! that comes in the meantime is looked at again later.

use std::fmt;
use std::ops::Range;
use std::ptr;

use crate::arena::Offset;
use crate::filter::Filter;
use crate::fork::Guard;
use crate::local::{self, Local};
use crate::lost::Lost;
use crate::module_list;
use crate::parts::Parts;
use crate::sampler;
use crate::snapshot::{self, Snapshot};
use crate::stack::{self, MAX_DEPTH, Registers};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sys;
use tables::{FAILED, READY, UNMADE};

mod tables;
mod ticket;
pub use ticket::{Taken, Ticket};

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
    /// See `set_own_text`. Written once, before the first sample, and read by each.
    own_text_start: AtomicU64,
    own_text_limit: AtomicU64,
    /// How many modules the arena has copies of. Written by `module_list`.
    modules: AtomicUsize,
    fork: Guard,
}

/// How many allocated bytes later a thread looks again that found the tables
/// not there yet: little enough to lose next to nothing, enough not to be slow
/// where they are never made.
const RETRY_BYTES: i64 = 1024;

/// More samples than a signal handler takes while it interrupts one recorder.
const MOST_NESTED: u32 = 64;

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
        // Nothing is made by a handler: what it interrupted may be making it.
        // Acquire: as in `is_ready`.
        if nested && self.state.load(Ordering::Acquire) != READY {
            return None;
        }
        let Some(parts) = self.parts_or_make() else {
            // Relaxed: FAILED is final and publishes nothing.
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
            module_list::copy_new(parts.region, &self.modules);
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
        // Relaxed, here and below: a figure of its own.
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
        // Relaxed, here and in `own_text`: set before anything is sampled.
        self.own_text_start.store(text.start, Ordering::Relaxed);
        self.own_text_limit.store(text.end, Ordering::Relaxed);
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
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("period", &self.period())
            .finish_non_exhaustive()
    }
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
