//! Label sets: each stored once in the arena, found by what leads to it.
//!
//! Context: any; no lock, no global allocator, no panic.
//! Invariant: a linked record is never moved, unlinked or freed, and never changes.
//! A set's pairs are sorted by key, each key is there once and has a value.
//! Source: linking is that of [`table`](crate::table).
//!
//! ```text
//! heads[hash & mask] → newest record → … → oldest record → 0
//!
//! record   outer  pairs, packed       set      is
//!   70      0     a=1, b=2            70       a set, and how it is found when given so
//!   81      0     b=2, a=1            70       another order that leads to it
//!   93     70     b=3                105       what pairs on top of a set lead to
//!  105      0     a=1, b=3           105       that set
//! ```
//!
//! So a set that was met before on the same way costs one look-up by the pairs as
//! they are given, however many there are outside; only a new way is put together
//! and sorted. Ways are kept for speed alone: those for which there is no room are
//! gone anew each time.
//!
//! **Caps.** [`MOST_SETS`] sets, [`MOST_WAYS`] ways, and of the arena one byte in
//! sixteen, up to a MiB. A set beyond that is [`LOST`], and so is whatever is set on
//! top of it: part of a set would be another set.

use std::mem::{self, MaybeUninit};
use std::ptr;

use super::packed::{MOST_PAIRS, MOST_WORDS, Pairs, pack};
use super::{LOST, NONE};
use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys;

/// Sets that are told apart. A program that has more labels its samples with what
/// grows without end (an id of a request), and sites would not add up any more.
pub const MOST_SETS: u32 = 4096;

/// Ways to them that are kept.
pub const MOST_WAYS: u32 = 2 * MOST_SETS;

/// Words that a look-up packs on the stack; more take the way of new sets. 256
/// bytes: four pairs of usual length.
const USUAL_WORDS: usize = 32;

/// What leads to a set. The packed pairs follow it in memory.
#[repr(C)]
#[derive(Debug)]
struct Record {
    /// The next older record of the chain. All fields are set before it is linked.
    next: AtomicU32,
    /// Words of the pairs.
    words: AtomicU32,
    hash: AtomicU64,
    /// The set that the pairs are added to; 0: none.
    outer: AtomicU32,
    /// The set that results.
    set: AtomicU32,
}

/// The table's own record.
#[repr(C)]
#[derive(Debug)]
struct SetsRoot {
    /// Where the heads stand. This, the mask and the seed are written by `create`
    /// and published with the root.
    heads: AtomicU32,
    /// Number of heads, a power of two, minus 1.
    mask: AtomicU32,
    /// Hashes begin with it: values may be chosen by a stranger.
    seed: AtomicU64,
    /// Sets, ways and bytes taken so far. Added to before each is made.
    sets: AtomicU32,
    ways: AtomicU32,
    bytes: AtomicU64,
}

impl NewRecord for Record {
    fn new_record() -> Self {
        Self {
            next: AtomicU32::new(0),
            words: AtomicU32::new(0),
            hash: AtomicU64::new(0),
            outer: AtomicU32::new(0),
            set: AtomicU32::new(0),
        }
    }
}

impl NewRecord for SetsRoot {
    fn new_record() -> Self {
        Self {
            heads: AtomicU32::new(0),
            mask: AtomicU32::new(0),
            seed: AtomicU64::new(0),
            sets: AtomicU32::new(0),
            ways: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}
records!(Record, SetsRoot);

/// What finds a record.
#[derive(Clone, Copy)]
struct Way<'k> {
    outer: u32,
    pairs: &'k [u64],
    hash: u64,
}

/// The label sets of an arena, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct Sets<'a> {
    region: Region<'a>,
    root: &'a SetsRoot,
    heads: &'a [AtomicU32],
}

impl<'a> Sets<'a> {
    /// Makes them, empty. `None`: no room.
    #[must_use]
    pub fn create(region: Region<'a>) -> Option<Self> {
        let count = head_count(region.capacity_bytes());
        let heads = region.alloc_spread::<AtomicU32>(count)?;
        let at = region.alloc::<SetsRoot>(0)?;
        let root = region.get::<SetsRoot>(at)?;
        // Relaxed, all: published with the root, below.
        root.heads.store(heads.raw(), Ordering::Relaxed);
        root.mask
            .store(u32::try_from(count - 1).ok()?, Ordering::Relaxed);
        root.seed.store(seed(region), Ordering::Relaxed);
        region.set_root(Root::Labels, at)?;
        Self::open(region)
    }

    /// Those that `create` made in this arena, perhaps in another process.
    #[must_use]
    #[inline]
    pub fn open(region: Region<'a>) -> Option<Self> {
        let root = region.get::<SetsRoot>(region.root(Root::Labels)?)?;
        // Relaxed, both: published with the root.
        let count = root.mask.load(Ordering::Relaxed) as usize + 1;
        let heads = Offset::from_raw(root.heads.load(Ordering::Relaxed))?;
        Some(Self {
            region,
            root,
            heads: region.array(heads, count)?,
        })
    }

    /// The set of `outer`'s pairs and these; the last of equal keys counts, and one
    /// without a value takes the key off.
    #[must_use]
    #[inline]
    pub fn extend(&self, outer: u32, pairs: &[(&str, &str)]) -> u32 {
        if outer == LOST || pairs.is_empty() {
            return outer;
        }
        let mut buffer = [const { MaybeUninit::uninit() }; USUAL_WORDS];
        match pack(pairs, &mut buffer) {
            Some(words) => {
                let way = self.way(outer, words);
                match self.find(self.head(way.hash), 0, &way) {
                    Some(set) => set,
                    None => self.go(&way, pairs),
                }
            }
            None => self.extend_by_many(outer, pairs),
        }
    }

    /// The pairs of a set, sorted by key. `None`: it is none, or lost.
    #[must_use]
    pub fn pairs(&self, set: u32) -> Option<Pairs<'a>> {
        if set <= LOST {
            return None;
        }
        let at = Offset::from_raw(set)?;
        self.words(at, self.region.get::<Record>(at)?)
            .map(Pairs::of)
    }

    /// How many sets there are, about.
    #[must_use]
    pub fn len(&self) -> usize {
        // Relaxed: a figure.
        self.root.sets.load(Ordering::Relaxed) as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As `extend`, for what takes more than the usual words.
    #[cold]
    #[inline(never)]
    fn extend_by_many(&self, outer: u32, pairs: &[(&str, &str)]) -> u32 {
        let mut buffer = [const { MaybeUninit::uninit() }; MOST_WORDS];
        let Some(words) = pack(pairs, &mut buffer) else {
            return LOST;
        };
        let way = self.way(outer, words);
        match self.find(self.head(way.hash), 0, &way) {
            Some(set) => set,
            None => self.go(&way, pairs),
        }
    }

    /// Puts a set together, finds or stores it, and keeps the way to it.
    #[cold]
    #[inline(never)]
    fn go(&self, way: &Way<'_>, pairs: &[(&str, &str)]) -> u32 {
        let mut buffer = [const { MaybeUninit::uninit() }; MOST_WORDS];
        let Some(words) = self.join(way.outer, pairs, &mut buffer) else {
            return LOST;
        };
        let direct = self.way(NONE, words);
        let set = match words {
            [] => Some(NONE),
            _ => self.find_or_link(&direct, None),
        };
        let Some(set) = set else {
            return LOST;
        };
        if (way.outer, way.pairs) != (NONE, words) {
            let _ = self.find_or_link(way, Some(set));
        }
        set
    }

    /// The pairs of `outer` and `pairs`, sorted, each key once and none without a
    /// value. `None`: too many.
    fn join<'o>(
        &self,
        outer: u32,
        pairs: &[(&str, &str)],
        out: &'o mut [MaybeUninit<u64>],
    ) -> Option<&'o [u64]> {
        let mut all = [("", ""); MOST_PAIRS];
        let mut len = 0;
        let outer = self.pairs(outer).into_iter().flatten();
        for (key, value) in outer.chain(pairs.iter().copied()) {
            let known = all.get_mut(..len)?.iter_mut().find(|(k, _)| *k == key);
            match known {
                Some(pair) => pair.1 = value,
                None => {
                    *all.get_mut(len)? = (key, value);
                    len += 1;
                }
            }
        }
        let all = all.get_mut(..len)?;
        // Those without a value first, to be left out.
        all.sort_unstable_by_key(|(key, value)| (!value.is_empty(), *key));
        pack(
            all.get(all.partition_point(|(_, value)| value.is_empty())..)?,
            out,
        )
    }

    #[inline(always)]
    fn way<'k>(&self, outer: u32, pairs: &'k [u64]) -> Way<'k> {
        // Relaxed: published with the root.
        let seed = self.root.seed.load(Ordering::Relaxed);
        Way {
            outer,
            pairs,
            hash: hash(seed ^ u64::from(outer), pairs),
        }
    }

    #[inline(always)]
    fn head(&self, hash: u64) -> u32 {
        // Acquire: pairs with the Release that linked the head; it is whole.
        self.cell(hash)
            .map_or(0, |cell| cell.load(Ordering::Acquire))
    }

    #[inline(always)]
    fn cell(&self, hash: u64) -> Option<&'a AtomicU32> {
        self.heads.get(hash as usize & (self.heads.len() - 1))
    }

    /// Where `way` leads to, if it is between `head` and, without it, `end`.
    #[inline]
    fn find(&self, head: u32, end: u32, way: &Way<'_>) -> Option<u32> {
        let mut at = head;
        // No chain is longer than all there can be, unless a file is damaged.
        for _ in 0..MOST_SETS + MOST_WAYS {
            if at == end {
                return None;
            }
            let offset = Offset::from_raw(at)?;
            let record = self.region.get::<Record>(offset)?;
            // Relaxed, all: written before the record was linked.
            if record.hash.load(Ordering::Relaxed) == way.hash
                && record.outer.load(Ordering::Relaxed) == way.outer
                && self.words(offset, record)? == way.pairs
            {
                return Some(record.set.load(Ordering::Relaxed));
            }
            at = record.next.load(Ordering::Relaxed);
        }
        None
    }

    /// Where `way` leads to, if it is known, else to `set` from now on, or to itself.
    /// `None`: it is new and there is no room.
    fn find_or_link(&self, way: &Way<'_>, set: Option<u32>) -> Option<u32> {
        let cell = self.cell(way.hash)?;
        let mut scanned = 0;
        let mut fresh = None;
        // Acquire: pairs with the Release that linked the head; it is whole.
        let mut head = cell.load(Ordering::Acquire);
        loop {
            if let Some(found) = self.find(head, scanned, way) {
                if fresh.is_some() {
                    // Its bytes stay taken: nothing in the arena is given back.
                    self.count(set).fetch_sub(1, Ordering::Relaxed);
                }
                return Some(found);
            }
            let new = match fresh {
                Some(new) => new,
                None => *fresh.insert(self.make(way, set)?),
            };
            let record = self.region.get::<Record>(new)?;
            // Relaxed: published by the swap below.
            record.next.store(head, Ordering::Relaxed);
            // Release: publishes the record. Pairs with the Acquire loads of heads,
            // here and in `head`; a reader of a bucket with this set finds it
            // through the bucket, linked later by the same thread or by one that
            // read the set's number here. Acquire on failure: the new head is whole.
            match cell.compare_exchange(head, new.raw(), Ordering::Release, Ordering::Acquire) {
                // Relaxed: as this thread wrote it.
                Ok(_) => return Some(record.set.load(Ordering::Relaxed)),
                Err(now) => {
                    scanned = head;
                    head = now;
                }
            }
        }
    }

    fn make(&self, way: &Way<'_>, set: Option<u32>) -> Option<Offset> {
        let most = if set.is_none() { MOST_SETS } else { MOST_WAYS };
        let tail = mem::size_of_val(way.pairs);
        let size = (mem::size_of::<Record>() + tail) as u64;
        // Relaxed, all: counts that publish nothing.
        let bytes = &self.root.bytes;
        let fits = |sum: u64| sum <= most_bytes(self.region.capacity_bytes());
        bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| {
                Some(sum + size).filter(|sum| fits(*sum))
            })
            .ok()?;
        let counted = self
            .count(set)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                Some(count + 1).filter(|count| *count <= most)
            });
        if counted.is_err() {
            bytes.fetch_sub(size, Ordering::Relaxed);
            return None;
        }
        let at = self.region.alloc::<Record>(tail)?;
        let record = self.region.get::<Record>(at)?;
        // Relaxed, all: published when the record is linked.
        record
            .words
            .store(u32::try_from(way.pairs.len()).ok()?, Ordering::Relaxed);
        record.hash.store(way.hash, Ordering::Relaxed);
        record.outer.store(way.outer, Ordering::Relaxed);
        record.set.store(set.unwrap_or(at.raw()), Ordering::Relaxed);
        let to = self
            .region
            .pointer(at.plus_bytes(mem::size_of::<Record>())?);
        // SAFETY: `alloc` gave this thread alone as many words behind the record,
        // aligned to 8; nobody reads them before the record is linked.
        unsafe { ptr::copy_nonoverlapping(way.pairs.as_ptr(), to.cast::<u64>(), way.pairs.len()) };
        Some(at)
    }

    /// What counts records like it: ways lead to a set, a set to itself.
    fn count(&self, set: Option<u32>) -> &'a AtomicU32 {
        match set {
            None => &self.root.sets,
            Some(_) => &self.root.ways,
        }
    }

    #[inline(always)]
    fn words(&self, at: Offset, record: &Record) -> Option<&'a [u64]> {
        // Relaxed: written before the record was linked.
        let len = record.words.load(Ordering::Relaxed) as usize;
        self.region
            .array(at.plus_bytes(mem::size_of::<Record>())?, len)
    }
}

/// Two words a multiplication, each with factors of its own, so that no product waits
/// for another; the seed is in all of them.
/// Source: the shape of Wang Yi's wyhash.
#[inline(always)]
fn hash(seed: u64, words: &[u64]) -> u64 {
    let mut factor = seed ^ words.len() as u64;
    let mut sum = factor;
    let (pairs, rest) = words.as_chunks::<2>();
    for [one, other] in pairs {
        factor = factor.wrapping_add(GOLDEN);
        sum = sum.wrapping_add(fold(one ^ factor, other ^ factor.rotate_left(32)));
    }
    let last = rest.first().copied().unwrap_or(0);
    fold(sum ^ GOLDEN, last ^ seed)
}

#[inline(always)]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// 2⁶⁴ ÷ golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Not to be guessed from outside: when, which process, and where the kernel put it.
fn seed(region: Region<'_>) -> u64 {
    let place = region.base().as_ptr().addr() as u64;
    let who = u64::from(sys::process_id());
    fold(sys::unix_nanos() ^ GOLDEN, place ^ who.rotate_left(40)) | 1
}

/// Chains of three records where all are taken; four bytes in 16 KiB else.
#[cfg(not(any(everprof_loom, miri)))]
fn head_count(capacity_bytes: usize) -> usize {
    (capacity_bytes >> 14).clamp(64, 4096).next_power_of_two()
}

/// One, so that models reach the collisions.
#[cfg(any(everprof_loom, miri))]
fn head_count(_capacity_bytes: usize) -> usize {
    1
}

fn most_bytes(capacity_bytes: usize) -> u64 {
    (capacity_bytes as u64 / 16).min(1 << 20)
}

#[cfg(not(everprof_loom))]
const _: () = assert!(mem::size_of::<Record>() == 24 && mem::size_of::<SetsRoot>() == 32);

#[cfg(all(test, not(everprof_loom)))]
mod tests;
