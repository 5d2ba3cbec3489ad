//! Places: the buckets of stacks that are sampled again and again, found without a walk.
//!
//! Context: sampled. Invariant: what is found is the bucket that a walk would have led to. A
//! place says which bucket *may* be meant; the bucket's path decides ([`crate::stack::path`]).
//!
//! A program allocates most of its memory in few places. Before a stack is walked three things are
//! known: how far away its end is, the object's size class, and the labels. Their hash chooses a
//! set of four places. Half of it stands in each place beside the bucket, so that a place of
//! another stack is told without a look at its bucket. A program whose stacks are always new pays for the set's
//! line of the processor's cache, and for no more.
//!
//! ```text
//! (bytes above, class, labels) ─→ set ─→ hash, bucket ─→ path ─→ words on the stack
//!                                                          ↑
//! shared[hash of the stack] ───────────────────────────────┘  one for all classes
//! ```
//!
//! Paths stand in the arena, and take more of it than a stack does, so few are made. For the first
//! 256 a stack must have been sampled once before, for the next 256 twice, then four times, and so
//! on: with a million samples they are 5,000 at most. There are no more once the arena is half
//! full. Places are not in the arena; they are forgotten when it is made anew.

use crate::arena::{Offset, Region};
use crate::stack::path::{self, Upto};
use crate::stack::{Registers, ThreadMemory, depth_limit};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::table::{Bucket, Sides};

/// See the module head. All bits zero: none.
pub(crate) struct Places {
    /// The upper half of the hash, and the bucket's offset. Any thread writes, any reads.
    sets: [[AtomicU64; WAYS]; SETS],
    /// Paths by their stacks. As above.
    shared: [AtomicU32; SHARED],
    /// Paths made. Any thread adds; a figure.
    made: AtomicU32,
}

/// What is known of a sample whose stack is to be captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'r> {
    pub(super) registers: &'r Registers,
    pub(super) memory: &'r ThreadMemory,
    pub(super) class: u64,
    pub(super) labels: u32,
}

impl Places {
    /// None.
    pub(crate) const fn new() -> Self {
        Self {
            sets: [const { [const { AtomicU64::new(0) }; WAYS] }; SETS],
            shared: [const { AtomicU32::new(0) }; SHARED],
            made: AtomicU32::new(0),
        }
    }

    /// Forgets all: the arena is made anew, in a fork's child, where only one thread is.
    pub(crate) fn clear(&self) {
        // Relaxed, all: only one thread is there.
        for place in self.sets.as_flattened() {
            place.store(0, Ordering::Relaxed);
        }
        for path in &self.shared {
            path.store(0, Ordering::Relaxed);
        }
        self.made.store(0, Ordering::Relaxed);
    }

    /// The bucket of the stack that is wanted, if it is one of the known.
    #[inline]
    pub(super) fn find(&self, region: Region<'_>, wanted: &Wanted<'_>) -> Option<Offset> {
        let hash = wanted.hash()?;
        self.set(hash).iter().find_map(|place| {
            // Relaxed: an offset alone finds the bucket, and what is read there is read behind the
            // Acquire in `holds`.
            let word = place.load(Ordering::Relaxed);
            let at = Offset::from_raw(word as u32)?;
            (word >> 32 == hash >> 32 && holds(region, at, wanted)).then_some(at)
        })
    }

    /// The bucket at `at` is what a walk has led to, over `stack`.
    #[cold]
    #[inline(never)]
    pub(super) fn note(
        &self,
        region: Region<'_>,
        wanted: &Wanted<'_>,
        (at, stack): (Offset, &[u64]),
    ) {
        let (Some(hash), Some(bucket)) = (wanted.hash(), region.get::<Bucket<Sides>>(at)) else {
            return;
        };
        // Relaxed: to compare.
        match bucket.aside().load(Ordering::Relaxed) {
            UNKNOWN => {
                let sampled = (0..2).filter_map(|side| bucket.cells(side));
                let sampled: u64 = sampled.map(|cells| cells.read_one(0)).sum();
                // Relaxed: a figure.
                let round = self.made.load(Ordering::Relaxed) / ROUND;
                if sampled >> round.min(u64::BITS - 1) == 0 {
                    return;
                }
                let path = self.path(region, wanted, stack);
                // Release: publishes the path. Pairs with the Acquire in `holds`. Of two threads
                // at once either's will do.
                bucket
                    .aside()
                    .store(path.map_or(NONE, Offset::raw), Ordering::Release);
            }
            NONE => return,
            _ => {}
        }
        if !holds(region, at, wanted) {
            return;
        }
        // The newest first: what stands last goes.
        let mut word = hash >> 32 << 32 | u64::from(at.raw());
        for place in self.set(hash) {
            // Relaxed: as in `find`. Two threads at once may leave one out, or twice.
            let before = place.load(Ordering::Relaxed);
            place.store(word, Ordering::Relaxed);
            word = before;
        }
    }

    /// The path of the stack that is wanted: another bucket's, or a new one.
    fn path(&self, region: Region<'_>, wanted: &Wanted<'_>, stack: &[u64]) -> Option<Offset> {
        let hash = stack
            .iter()
            .fold(0, |hash: u64, pc| mixed(hash.rotate_left(23) ^ pc));
        let shared = &self.shared[hash as usize % SHARED];
        // Acquire: pairs with the Release below; the path is whole.
        let known = Offset::from_raw(shared.load(Ordering::Acquire));
        // If it holds now it is the path of this stack, whichever bucket it was made for.
        if known.is_some_and(|at| path_holds(region, at, wanted)) {
            return known;
        }
        if region.used_bytes() > region.capacity_bytes() / 2 {
            return None;
        }
        let mut words = [0; 1 + path::most_words(MOST_FRAMES)];
        let (len, room) = words.split_first_mut()?;
        let count = path::make(wanted.registers, wanted.memory, Upto::Root, stack, room)?;
        *len = count as u64;
        let at = region.alloc_words(words.get(..=count)?)?;
        // Relaxed: a figure.
        self.made.fetch_add(1, Ordering::Relaxed);
        // Release: publishes the path. Pairs with the Acquire above.
        shared.store(at.raw(), Ordering::Release);
        Some(at)
    }

    #[inline]
    fn set(&self, hash: u64) -> &[AtomicU64; WAYS] {
        &self.sets[hash as usize >> 16 & (SETS - 1)]
    }
}

impl Wanted<'_> {
    /// The hash of what is known before a walk. `None`: the stack is not known to be the thread's
    /// own.
    #[inline]
    fn hash(&self) -> Option<u64> {
        let above = self.memory.above(self.registers.sp)?;
        let labels = u64::from(self.labels) << 40;
        Some(mixed(above.rotate_left(20) ^ self.class ^ labels))
    }
}

/// Whether the bucket at `at` is that of the stack that is wanted, as far as its path tells.
#[inline]
fn holds(region: Region<'_>, at: Offset, wanted: &Wanted<'_>) -> bool {
    let Some(bucket) = region.get::<Bucket<Sides>>(at) else {
        return false;
    };
    // Acquire: pairs with the Release in `note`, whose caller had found the bucket: the path is
    // whole, and so is the key.
    let aside = bucket.aside().load(Ordering::Acquire);
    aside > NONE
        && bucket.labels() == wanted.labels
        && bucket.extra() == wanted.class
        && Offset::from_raw(aside).is_some_and(|path| path_holds(region, path, wanted))
}

/// The path at `at`, which was read with Acquire: its length, and so many words.
#[inline]
fn path_at(region: Region<'_>, at: Offset) -> Option<&[AtomicU64]> {
    // Relaxed: written before the offset was published.
    let len = region.get::<AtomicU64>(at)?.load(Ordering::Relaxed);
    region.array(at.plus_bytes(size_of::<u64>())?, len as usize)
}

#[inline]
fn path_holds(region: Region<'_>, at: Offset, wanted: &Wanted<'_>) -> bool {
    let Some(words) = path_at(region, at) else {
        return false;
    };
    let (reach, frames) = path::extent(words);
    let below = wanted.registers.sp.wrapping_add(reach);
    // A walk would cut what is deeper.
    frames <= depth_limit() && path::holds(words, wanted.registers, wanted.memory, below)
}

/// One multiplication, of which all bits of the upper half depend on all of `value`.
#[inline]
fn mixed(value: u64) -> u64 {
    // 2⁶⁴ ÷ golden ratio, odd (Knuth, TAOCP 6.4); the upper half is folded in for the lower bits.
    let product = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

/// A bucket's `aside` before anybody has tried to make its path.
const UNKNOWN: u32 = 0;
/// The same where there can be no path. No record has such an offset: the header is there.
const NONE: u32 = 2;

/// Places in a set, tried one after the other.
const WAYS: usize = 4;
/// 8 KiB of places, a line for two sets.
const SETS: usize = 256;
/// 2 KiB.
const SHARED: usize = 512;
/// Paths before they are made of half as many stacks.
const ROUND: u32 = 256;
/// Deeper stacks are walked each time.
const MOST_FRAMES: usize = 48;

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::hint::black_box;

    use super::super::Recorder;
    use super::*;
    use crate::local::Local;
    use crate::stack::capture;
    use crate::store::Store;

    /// What one sample has come to.
    #[derive(Debug, PartialEq)]
    struct Met {
        bucket: Offset,
        /// What the places say of the very stack that was sampled.
        known: Option<Offset>,
        /// The bucket's stack is what a walk writes there.
        is_walked: bool,
    }

    #[inline(never)]
    fn leaf(store: &Store, local: &Local, size: usize) -> Met {
        let registers = Registers::here();
        let walk = |out: &mut [u64]| capture(&registers, &local.stack, out, &(0..0)).depth;
        let recorder = Recorder::of(store);
        local.set_left(-1);
        let admitted = recorder.admit(local, size as u64, false, Some(&registers), walk);
        let ticket = admitted.unwrap();
        let bucket = ticket.bucket;
        // No two objects stand at one address.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        ticket.commit(16 * NEXT.fetch_add(1, Ordering::Relaxed) as usize, 0);
        let region = store.own_region().unwrap();
        let wanted = Wanted {
            registers: &registers,
            memory: &local.stack,
            class: super::super::size_class(size as u64),
            labels: 0,
        };
        let mut out = [0; 128];
        let depth = walk(&mut out);
        let stack = recorder.parts().unwrap().ledger.table.stack(bucket);
        Met {
            bucket,
            known: store.places().find(region, &wanted),
            is_walked: stack.unwrap() == &out[..depth],
        }
    }

    /// Calls of one depth, by another way for each bit.
    #[inline(never)]
    fn calls(store: &Store, local: &Local, size: usize, ways: u32, depth: u32) -> Met {
        let mut met = match (depth, ways & 1) {
            (0, _) => leaf(store, local, size),
            (_, 0) => calls(store, local, size, ways >> 1, depth - 1),
            (_, _) => calls(store, local, size, black_box(ways) >> 1, depth - 1),
        };
        black_box(&mut met);
        met
    }

    fn store() -> Box<Store> {
        // Without a loader that knows them, code is found by this list.
        crate::modules::refresh();
        let store = Box::new(Store::new());
        Recorder::of(&store).set_period(1);
        store
    }

    /// Thirty-two stacks that end equally far up, in two classes, again and again: more than a
    /// set has places for.
    #[test]
    fn known_stack_leads_to_the_bucket_that_a_walk_would_have_led_to() {
        let (store, local) = (store(), Local::new());
        let mut first = Vec::new();
        for round in 0..4 {
            for (stack, size) in (0..32).flat_map(|stack| [(stack, 64), (stack, 4000)]) {
                let met = calls(&store, &local, size, black_box(stack), 5);
                assert!(met.is_walked);
                assert!(met.known.is_none_or(|known| known == met.bucket));
                if round == 0 {
                    assert!(!first.contains(&met.bucket));
                    first.push(met.bucket);
                }
                let index = 2 * stack as usize + usize::from(size == 4000);
                assert_eq!(first[index], met.bucket);
            }
        }
    }

    // A path needs a rule for each frame, and musl's begin of a thread has none: every sample
    // is walked there.
    #[cfg(not(target_env = "musl"))]
    #[test]
    fn stack_is_known_from_its_second_sample_on_on_all_threads_that_call_alike() {
        let store = store();
        let meet = || {
            let local = Local::new();
            [1, 1, 2].map(|stack| calls(&store, &local, 64, black_box(stack), 5))
        };
        let run = || std::thread::scope(|scope| scope.spawn(meet).join().unwrap());
        let [once, twice, other] = run();
        assert_eq!((once.known, once.bucket), (None, twice.bucket));
        assert_eq!(twice.known, Some(twice.bucket));
        assert_eq!(other.known, None);
        // The first walk of a thread learns where its stack is.
        let [_, again, _] = run();
        assert_eq!(again, twice);
    }

    // A path needs a rule for each frame, and musl's begin of a thread has none: every sample
    // is walked there.
    #[cfg(not(target_env = "musl"))]
    #[test]
    fn one_path_serves_all_classes_of_a_stack() {
        let (store, local) = (store(), Local::new());
        for size in [16, 16, 3000, 3000, 5000, 5000] {
            let met = calls(&store, &local, size, black_box(1), 3);
            assert!(met.is_walked);
        }
        assert_eq!(store.places().made.load(Ordering::Relaxed), 1);
    }

    // A path needs a rule for each frame, and musl's begin of a thread has none: every sample
    // is walked there.
    #[cfg(not(target_env = "musl"))]
    #[test]
    fn what_is_forgotten_is_walked_again() {
        let (store, local) = (store(), Local::new());
        let met = [0, 1, 2].map(|round| {
            if round == 2 {
                store.places().clear();
            }
            calls(&store, &local, 64, black_box(1), 3)
        });
        assert_eq!(met[1].known, Some(met[0].bucket));
        // Its path is known still, but no longer where to look for it: one walk.
        assert_eq!(met[2], met[1]);
    }

    // A path needs a rule for each frame, and musl's begin of a thread has none: every sample
    // is walked there.
    #[cfg(not(target_env = "musl"))]
    #[test]
    fn paths_are_made_of_fewer_stacks_the_more_there_are() {
        let (store, local) = (store(), Local::new());
        store.places().made.store(3 * ROUND, Ordering::Relaxed);
        let known: Vec<_> = (0..10)
            .map(|_| calls(&store, &local, 64, black_box(1), 3).known.is_some())
            .collect();
        // Met eight times before, and noted by the ninth.
        assert_eq!(known.iter().position(|known| *known), Some(8));
    }
}
