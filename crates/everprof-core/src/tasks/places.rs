//! Places: the buckets of where tasks wait again and again, found without a walk.
//!
//! Context: sampled. Invariant: what is found is the bucket that a walk would have led to. A
//! place says which bucket *may* be meant; its path decides ([`crate::stack::path`]).
//!
//! A task stands where it or another of its kind stood before, nearly always. What is
//! known of a stack before it is walked is how long it is, in bytes, and whose: that chooses
//! a set of four, in which the paths are tried one after another. Where a service's requests
//! await in turn what three functions do, all three are there.
//!
//! A path stands in the arena, beside its bucket, and is made when a stack is met for the
//! second time. Any thread writes a place and any reads it, one word at a time: an old one
//! leads to a bucket that is as good as any, of the making that the word names.

use super::capture::How;
use crate::arena::{Offset, Region};
use crate::local::Local;
use crate::path_record;
use crate::stack::{Registers, path};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::table::{Bucket, Sides};

/// See the module head. All bits zero: none.
#[derive(Debug)]
pub struct Places([[AtomicU64; WAYS]; SETS]);

/// What is known of a stack that is to be captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'r> {
    pub(super) registers: &'r Registers,
    /// The stack pointer of the frame that it ends at.
    pub(super) below: u64,
    /// What kind of task it is of, for short.
    pub(super) whose: u64,
    pub(super) how: How,
    pub(super) labels: u32,
    /// The store's making.
    pub(super) made: u32,
}

impl Places {
    /// None.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        Self([const { [const { AtomicU64::new(0) }; WAYS] }; SETS])
    }

    /// The bucket of the stack that is wanted, if it is one of the known.
    #[inline(always)]
    pub(super) fn find(
        &self,
        region: Region<'_>,
        local: &Local,
        wanted: &Wanted<'_>,
    ) -> Option<Offset> {
        let [first, others @ ..] = self.set(wanted);
        found(first, region, local, wanted).or_else(|| found_in(others, region, local, wanted))
    }

    /// The bucket at `at` is what a walk has led to, over `stack`.
    #[cold]
    #[inline(never)]
    pub(super) fn note(
        &self,
        region: Region<'_>,
        local: &Local,
        wanted: &Wanted<'_>,
        (at, stack): (Offset, &[u64]),
    ) {
        let Some(bucket) = region.get::<Bucket<Sides>>(at) else {
            return;
        };
        // Relaxed: to compare.
        match bucket.aside().load(Ordering::Relaxed) {
            UNKNOWN => return bucket.aside().store(ONCE, Ordering::Relaxed),
            ONCE => make(region, bucket.aside(), local, wanted, stack),
            NONE => return,
            _ => {}
        }
        if !holds(region, at, local, wanted) {
            return;
        }
        // The newest first: what stands last goes.
        let mut word = u64::from(wanted.made) << 32 | u64::from(at.raw());
        for place in self.set(wanted) {
            // Relaxed: as in `find`. Two threads at once may leave one out, or twice.
            word = place.swap(word, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set(&self, wanted: &Wanted<'_>) -> &[AtomicU64; WAYS] {
        let reach = wanted.below.wrapping_sub(wanted.registers.sp);
        let mixed = (reach ^ wanted.whose << 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.0[(mixed >> (u64::BITS - SETS.ilog2())) as usize]
    }
}

#[inline(always)]
fn found(
    place: &AtomicU64,
    region: Region<'_>,
    local: &Local,
    wanted: &Wanted<'_>,
) -> Option<Offset> {
    // Relaxed: the bucket is found by its offset alone, and all that is read of it behind
    // the Acquire in `holds`.
    let word = place.load(Ordering::Relaxed);
    let at = Offset::from_raw(word as u32)?;
    let is_it = (word >> 32) as u32 == wanted.made && holds(region, at, local, wanted);
    is_it.then_some(at)
}

/// Apart, as the first of a set is the one, nearly always.
#[inline(never)]
fn found_in(
    places: &[AtomicU64],
    region: Region<'_>,
    local: &Local,
    wanted: &Wanted<'_>,
) -> Option<Offset> {
    let mut places = places.iter();
    places.find_map(|place| found(place, region, local, wanted))
}

/// Whether the bucket at `at` is that of the stack that is wanted, as far as its path tells.
#[inline]
fn holds(region: Region<'_>, at: Offset, local: &Local, wanted: &Wanted<'_>) -> bool {
    let Some(bucket) = region.get::<Bucket<Sides>>(at) else {
        return false;
    };
    // Acquire: pairs with the Release in `make`, whose caller had found the bucket: the path is
    // whole, and so is the key, which `find` comes to by a place that orders nothing. Without it
    // labels could still read as none.
    let aside = bucket.aside().load(Ordering::Acquire);
    let (Some(path), true) = (Offset::from_raw(aside), aside > NONE) else {
        return false;
    };
    if bucket.labels() != wanted.labels || bucket.extra() != wanted.how as u64 {
        return false;
    }
    path_record::words(region, path)
        .is_some_and(|words| path::holds(words, wanted.registers, &local.stack, wanted.below))
}

/// Makes the path of the bucket whose `aside` is given.
fn make(region: Region<'_>, aside: &AtomicU32, local: &Local, wanted: &Wanted<'_>, stack: &[u64]) {
    let mut words = [0; path::most_words(MOST_FRAMES)];
    let upto = path::Upto::Frame(wanted.below);
    let path = path::make(wanted.registers, &local.stack, upto, stack, &mut words)
        .and_then(|count| words.get(..count))
        .and_then(|words| path_record::write(region, words));
    // Release: publishes the path. Pairs with the Acquire in `holds`. Of two threads at
    // once either's will do.
    aside.store(path.map_or(NONE, Offset::raw), Ordering::Release);
}

/// A bucket's `aside`: nothing is known; its stack was met once; it has no path, or there was no
/// room. Records' offsets are greater, as the arena's header is.
const UNKNOWN: u32 = 0;
const ONCE: u32 = 1;
const NONE: u32 = 2;

/// Stacks of one length and kind of task that are tried.
const WAYS: usize = 4;
/// 8 KiB of places.
const SETS: usize = 256;
/// Deeper stacks are walked each time; in release builds there are ten frames at most.
const MOST_FRAMES: usize = 24;
