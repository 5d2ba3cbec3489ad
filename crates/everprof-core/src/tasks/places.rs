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
//! A path stands in the arena, and is made when a stack is met for the second time; its bucket knows
//! it, and it knows its bucket, and what tells that one's from others of the same stack: so a leaf
//! whose path holds never looks at the bucket, which would be a line of the cache more.
//!
//! ```text
//! place  made | path          path  bucket | words · labels | how · words: see `stack::path`
//! ```
//!
//! Any thread writes a place and any reads it, one word at a time: an old one
//! leads to a path that is as good as any, of the making that the word names.

use super::wanted::Wanted;
use crate::arena::{Offset, Region};
use crate::local::Local;
use crate::stack::path;
use crate::sync::{AtomicU64, Ordering};
use crate::table::{Bucket, Sides};

/// See the module head. All bits zero: none.
#[derive(Debug)]
pub struct Places([[AtomicU64; WAYS]; SETS]);

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
            ONCE => {
                let path = make(region, local, wanted, (at, stack));
                // Release: publishes the path. Pairs with the Acquire below. Of two threads at
                // once either's will do.
                let aside = path.map_or(NONE, Offset::raw);
                bucket.aside().store(aside, Ordering::Release);
            }
            NONE => return,
            _ => {}
        }
        // Acquire: pairs with the Release above; the path is whole.
        let path = bucket.aside().load(Ordering::Acquire);
        let path = Offset::from_raw(path).filter(|path| path.raw() > NONE);
        let Some(path) = path.filter(|path| held(region, *path, local, wanted) == Some(at)) else {
            return;
        };
        // The newest first: what stands last goes.
        let mut word = u64::from(wanted.made) << 32 | u64::from(path.raw());
        for place in self.set(wanted) {
            // Release: publishes the path, or hands on another's; Acquire: takes over that one's.
            // Pairs with the Acquire in `found`. Two threads at once may leave one out, or twice.
            word = place.swap(word, Ordering::AcqRel);
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
    // Acquire: pairs with the Release in `note`: the path is whole.
    let word = place.load(Ordering::Acquire);
    let path = Offset::from_raw(word as u32)?;
    match (word >> 32) as u32 == wanted.made {
        true => held(region, path, local, wanted),
        false => None,
    }
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

/// The bucket of the path at `path`, if that is of the stack that is wanted.
#[inline]
fn held(region: Region<'_>, path: Offset, local: &Local, wanted: &Wanted<'_>) -> Option<Offset> {
    // Relaxed, both: published with the path's offset, as all of it.
    let [head, tells] = region.array::<AtomicU64>(path, HEAD_WORDS)? else {
        return None;
    };
    let head = head.load(Ordering::Relaxed);
    if tells.load(Ordering::Relaxed) != what_tells(wanted) {
        return None;
    }
    let count = HEAD_WORDS + head as u32 as usize;
    let words = region.array::<AtomicU64>(path, count)?.get(HEAD_WORDS..)?;
    let is_held = path::holds(words, wanted.registers, &local.stack, wanted.below);
    Offset::from_raw((head >> 32) as u32).filter(|_| is_held)
}

/// What buckets of one stack are told apart by.
#[inline]
fn what_tells(wanted: &Wanted<'_>) -> u64 {
    u64::from(wanted.labels) << 32 | wanted.how as u64
}

/// Makes the path of the bucket at `at`, over `stack`.
fn make(
    region: Region<'_>,
    local: &Local,
    wanted: &Wanted<'_>,
    (at, stack): (Offset, &[u64]),
) -> Option<Offset> {
    let mut words = [0; HEAD_WORDS + path::most_words(MOST_FRAMES)];
    let (head, room) = words.split_first_chunk_mut::<HEAD_WORDS>()?;
    let upto = path::Upto::Frame(wanted.below);
    let count = path::make(wanted.registers, &local.stack, upto, stack, room)?;
    *head = [u64::from(at.raw()) << 32 | count as u64, what_tells(wanted)];
    region.alloc_words(words.get(..HEAD_WORDS + count)?)
}

/// Words in front of those of the path itself.
const HEAD_WORDS: usize = 2;

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
