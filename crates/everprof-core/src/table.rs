//! Bucket table: finds or makes the bucket of a stack.
//!
//! Context: sampled. No global allocator, no lock, no panic.
//! Invariant: a linked bucket is never moved, unlinked or freed, and its stack,
//! hash and extra key never change; what its recorder keeps `aside` may.
//! Source: Go runtime/mprof.go; here insertion is one compare-and-swap, no lock.
//!
//! ```text
//! homes[hash >> 32 & …] → one bucket, for good
//! heads[hash & mask]    → newest bucket → … → oldest bucket → 0
//! ```
//!
//! The first bucket that comes to a home stays there; others with that home are in the
//! chains. The heads are made for 100,000 stacks and fill 64 pages, of which each new stack
//! would touch one. A program with few stacks touches no head: the homes are a single page.
//!
//! A bucket is linked by swapping an empty home, or the head that was scanned, for itself.
//! If the swap of a head fails, somebody linked another bucket meanwhile, and only what is
//! new in the chain is scanned. A stack that once found its home taken never gets that home,
//! so no stack is linked twice.

use std::marker::PhantomData;
use std::mem;
use std::ptr;

use crate::arena::{NewRecord, Offset, Record, Region, Root, records};
use crate::lost::{self, Lost};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

mod bucket;
mod cells;

use bucket::hash;
pub use bucket::{Bucket, Key};
pub use cells::{COUNTERS, Cells, Counters, Sides};

/// The table's own record.
#[repr(C)]
#[derive(Debug)]
pub struct TableRoot {
    /// Where the heads stand. All but `buckets` is written by `create` and published
    /// with the root.
    heads: AtomicU32,
    /// Number of heads, a power of two, minus 1.
    mask: AtomicU32,
    /// Where the homes stand.
    homes: AtomicU32,
    /// Number of homes, a power of two, minus 1.
    home_mask: AtomicU32,
    /// Buckets that were linked. Written after each link; a figure.
    buckets: AtomicU64,
    /// The pre-made buckets, by the reason's number, with room for more reasons.
    lost: [AtomicU32; 16],
}

impl NewRecord for TableRoot {
    fn new_record() -> Self {
        Self {
            heads: AtomicU32::new(0),
            mask: AtomicU32::new(0),
            homes: AtomicU32::new(0),
            home_mask: AtomicU32::new(0),
            buckets: AtomicU64::new(0),
            lost: [(); 16].map(|()| AtomicU32::new(0)),
        }
    }
}
records!(TableRoot);

/// A table, borrowed from its arena. What it keeps of a stack is `C`.
#[derive(Debug)]
pub struct Table<'a, C = Sides> {
    region: Region<'a>,
    root: &'a TableRoot,
    homes: &'a [AtomicU32],
    heads: &'a [AtomicU32],
    kept: PhantomData<&'a C>,
}

impl<C> Clone for Table<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Table<'_, C> {}

impl<'a> Table<'a> {
    /// Makes a table of an arena, with its lost buckets. `None`: no room.
    #[must_use]
    pub fn create(region: Region<'a>, named: Root) -> Option<Self> {
        Self::create_of(region, named)
    }

    /// The table that `create` made in this arena, perhaps in another process.
    #[must_use]
    pub fn open(region: Region<'a>, named: Root) -> Option<Self> {
        Self::open_of(region, named)
    }

    /// Sets all counters to 0: in a fork's child, where only one thread is.
    pub fn clear_counters(&self) {
        for head in self.heads() {
            for (_, bucket) in self.chain(head, 0) {
                bucket.kept.0.iter().for_each(Cells::clear);
            }
        }
    }
}

impl<'a, C> Table<'a, C>
where
    Bucket<C>: Record,
{
    /// As [`Table::create`], of any kind.
    #[must_use]
    pub fn create_of(region: Region<'a>, named: Root) -> Option<Self> {
        let (home_count, count) = (
            home_count(named),
            head_count(region.capacity_bytes(), named),
        );
        let heads = region.alloc_spread::<AtomicU32>(count)?;
        let homes = region.alloc_array::<AtomicU32>(home_count)?;
        let at = region.alloc::<TableRoot>(0)?;
        let root = region.get::<TableRoot>(at)?;
        // Relaxed, all: published with the root, below.
        root.heads.store(heads.raw(), Ordering::Relaxed);
        root.mask
            .store(u32::try_from(count - 1).ok()?, Ordering::Relaxed);
        root.homes.store(homes.raw(), Ordering::Relaxed);
        root.home_mask
            .store(u32::try_from(home_count - 1).ok()?, Ordering::Relaxed);
        let table = Self {
            region,
            root,
            homes: region.array(homes, home_count)?,
            heads: region.array(heads, count)?,
            kept: PhantomData,
        };
        for reason in lost::ALL {
            let bucket = table.find_or_insert(&Key {
                stack: &[reason.pc()],
                extra: 0,
                labels: 0,
            })?;
            // Relaxed: as above.
            root.lost
                .get(reason.pc() as usize)?
                .store(bucket.raw(), Ordering::Relaxed);
        }
        region.set_root(named, at)?;
        Some(table)
    }

    /// The table that `create_of` made in this arena: of the same kind.
    #[must_use]
    pub fn open_of(region: Region<'a>, named: Root) -> Option<Self> {
        let root = region.get::<TableRoot>(region.root(named)?)?;
        // Relaxed, all: published with the root.
        let count = root.mask.load(Ordering::Relaxed) as usize + 1;
        let heads = Offset::from_raw(root.heads.load(Ordering::Relaxed))?;
        let home_count = root.home_mask.load(Ordering::Relaxed) as usize + 1;
        let homes = Offset::from_raw(root.homes.load(Ordering::Relaxed))?;
        Some(Self {
            region,
            root,
            homes: region.array(homes, home_count)?,
            heads: region.array(heads, count)?,
            kept: PhantomData,
        })
    }

    /// The bucket of `key`; `None` when it is new and there is no room.
    #[must_use]
    pub fn find_or_insert(&self, key: &Key<'_>) -> Option<Offset> {
        let hash = hash(key);
        let mut fresh = None;
        let home = self.homes.get(home_of(hash, self.homes.len()))?;
        // Acquire: pairs with the Release below; the bucket is whole.
        let mut settled = home.load(Ordering::Acquire);
        if settled == 0 {
            let new = self.make(key, hash)?;
            // Release: publishes the bucket. Acquire on failure: the other's is whole.
            match home.compare_exchange(0, new.raw(), Ordering::Release, Ordering::Acquire) {
                Ok(_) => {
                    // Relaxed: a figure.
                    self.root.buckets.fetch_add(1, Ordering::Relaxed);
                    return Some(new);
                }
                Err(other) => settled = other,
            }
            fresh = Some(new);
        }
        if let Some(found) = self.find_in(settled, 0, key, hash) {
            return Some(found);
        }
        let cell = self.heads.get(hash as usize & (self.heads.len() - 1))?;
        let mut scanned = 0;
        // Acquire: pairs with the Release that linked the head; it is whole.
        let mut head = cell.load(Ordering::Acquire);
        loop {
            if let Some(found) = self.find_in(head, scanned, key, hash) {
                // A bucket made in vain, after losing a race, stays unused:
                // nothing in the arena is given back.
                return Some(found);
            }
            let new = match fresh {
                Some(new) => new,
                None => *fresh.insert(self.make(key, hash)?),
            };
            let bucket = self.region.get::<Bucket<C>>(new)?;
            // Relaxed: published by the swap below.
            bucket.next.store(head, Ordering::Relaxed);
            // Release: publishes the bucket. Pairs with the Acquire loads of
            // heads here and in `heads`. Acquire on failure: the new head is whole.
            match cell.compare_exchange(head, new.raw(), Ordering::Release, Ordering::Acquire) {
                Ok(_) => {
                    // Relaxed: a figure.
                    self.root.buckets.fetch_add(1, Ordering::Relaxed);
                    return Some(new);
                }
                Err(now) => {
                    scanned = head;
                    head = now;
                }
            }
        }
    }

    /// The bucket of `key`, if there is one.
    #[must_use]
    pub fn find(&self, key: &Key<'_>) -> Option<Offset> {
        let hash = hash(key);
        let home = self.homes.get(home_of(hash, self.homes.len()))?;
        let cell = self.heads.get(hash as usize & (self.heads.len() - 1))?;
        // Acquire, both: pair with the Release that linked the bucket; it is whole.
        self.find_in(home.load(Ordering::Acquire), 0, key, hash)
            .or_else(|| self.find_in(cell.load(Ordering::Acquire), 0, key, hash))
    }

    /// The pre-made bucket for what could not be recorded because of `reason`.
    #[must_use]
    pub fn lost(&self, reason: Lost) -> Option<Offset> {
        // Relaxed: published with the root.
        Offset::from_raw(
            self.root
                .lost
                .get(reason.pc() as usize)?
                .load(Ordering::Relaxed),
        )
    }

    /// Where it stands.
    pub(crate) fn region(&self) -> Region<'a> {
        self.region
    }

    /// The bucket at `at`.
    #[must_use]
    #[inline]
    pub fn bucket(&self, at: Offset) -> Option<&'a Bucket<C>> {
        self.region.get(at)
    }

    /// The addresses of a linked bucket, leaf first.
    #[must_use]
    pub fn stack(&self, at: Offset) -> Option<&'a [u64]> {
        // Relaxed: written before the bucket was linked.
        let depth = self.bucket(at)?.depth.load(Ordering::Relaxed) as usize;
        self.region
            .array(at.plus_bytes(mem::size_of::<Bucket<C>>())?, depth)
    }

    /// Whether the bucket at `at`, of this region's tables, is that of `key`.
    #[must_use]
    #[inline]
    pub(crate) fn is_of(region: Region<'a>, at: Offset, key: &Key<'_>) -> bool {
        let Some(bucket) = region.get::<Bucket<C>>(at) else {
            return false;
        };
        // Relaxed: written before the bucket was linked.
        let depth = bucket.depth.load(Ordering::Relaxed) as usize;
        depth == key.stack.len()
            && bucket.extra() == key.extra
            && bucket.labels() == key.labels
            && at
                .plus_bytes(mem::size_of::<Bucket<C>>())
                .and_then(|at| region.array::<u64>(at, depth))
                .is_some_and(|stack| stack == key.stack)
    }

    /// What finds the bucket at `at`.
    #[must_use]
    pub fn key(&self, at: Offset) -> Option<Key<'a>> {
        let bucket = self.bucket(at)?;
        Some(Key {
            stack: self.stack(at)?,
            extra: bucket.extra(),
            labels: bucket.labels(),
        })
    }

    /// How many buckets there are, about.
    #[must_use]
    pub fn len(&self) -> usize {
        // Relaxed: a figure.
        self.root.buckets.load(Ordering::Relaxed) as usize
    }

    /// Whether nothing was linked, not even the lost buckets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many buckets this arena could hold at the very most.
    #[must_use]
    pub fn most_buckets(&self) -> usize {
        self.region.capacity_bytes() / mem::size_of::<Bucket<C>>()
    }

    /// The heads of all chains as they are now, homes as chains of one bucket first; 0 is
    /// an empty chain.
    pub fn heads(&self) -> impl Iterator<Item = u32> + Clone + use<'a, C> {
        let heads = self.homes.iter().chain(self.heads);
        // Acquire: pairs with the Release that linked the head; it is whole.
        heads.map(|head| head.load(Ordering::Acquire))
    }

    /// The buckets from `head` down to, without it, `end`. Ends by itself even
    /// where a damaged file has a loop.
    pub fn chain(
        &self,
        head: u32,
        end: u32,
    ) -> impl Iterator<Item = (Offset, &'a Bucket<C>)> + use<'a, C> {
        let region = self.region;
        let mut at = head;
        let mut steps = self.most_buckets();
        std::iter::from_fn(move || {
            if at == end || steps == 0 {
                return None;
            }
            steps -= 1;
            let offset = Offset::from_raw(at)?;
            let bucket = region.get::<Bucket<C>>(offset)?;
            // Relaxed: written before the bucket was linked; older ones were
            // linked before it and are published with it.
            at = bucket.next.load(Ordering::Relaxed);
            Some((offset, bucket))
        })
    }

    fn find_in(&self, head: u32, end: u32, key: &Key<'_>, hash: u64) -> Option<Offset> {
        self.chain(head, end)
            .find(|(at, bucket)| {
                // Relaxed: written before the bucket was linked.
                bucket.hash.load(Ordering::Relaxed) == hash && self.key(*at) == Some(*key)
            })
            .map(|(at, _)| at)
    }

    fn make(&self, key: &Key<'_>, hash: u64) -> Option<Offset> {
        let stack = key.stack;
        let at = self.region.alloc::<Bucket<C>>(mem::size_of_val(stack))?;
        let bucket = self.bucket(at)?;
        // Relaxed: published when the bucket is linked.
        bucket
            .depth
            .store(u32::try_from(stack.len()).ok()?, Ordering::Relaxed);
        bucket.hash.store(hash, Ordering::Relaxed);
        bucket.extra.store(key.extra, Ordering::Relaxed);
        bucket.labels.store(key.labels, Ordering::Relaxed);
        let tail = self
            .region
            .pointer(at.plus_bytes(mem::size_of::<Bucket<C>>())?);
        // SAFETY: `alloc` gave this thread alone `stack.len()` words behind the
        // bucket, aligned to 8; nobody reads them before the bucket is linked.
        unsafe { ptr::copy_nonoverlapping(stack.as_ptr(), tail.cast::<u64>(), stack.len()) };
        Some(at)
    }

    /// Walks everything and says whether it holds together: every bucket is in its home,
    /// or that is another's and it is in its chain; and nowhere else.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let mut seen = 0;
        for (index, head) in self.heads().enumerate() {
            for (at, bucket) in self.chain(head, 0) {
                seen += 1;
                let Some(key) = self.key(at) else {
                    return false;
                };
                let hash = hash(&key);
                let twice = self
                    .chain(head, at.raw())
                    .any(|(newer, _)| self.key(newer) == Some(key));
                let home = home_of(hash, self.homes.len());
                let chain = self.homes.len() + (hash as usize & (self.heads.len() - 1));
                let settled = self.heads().nth(home).and_then(Offset::from_raw);
                let in_place = match settled {
                    Some(settled) if settled != at => {
                        index == chain && self.key(settled) != Some(key)
                    }
                    Some(_) => index == home,
                    None => false,
                };
                // Relaxed: written before the bucket was linked.
                let stored = bucket.hash.load(Ordering::Relaxed);
                if twice || stored != hash || !in_place {
                    return false;
                }
            }
        }
        seen == self.len()
    }
}

/// Which of `count` homes is that of a hash: by other bits than choose its head.
fn home_of(hash: u64, count: usize) -> usize {
    (hash >> 32) as usize & (count - 1)
}

/// A page of homes for the heap's stacks; most programs sample fewer. The other tables'
/// own buckets, for what is lost, are at home in 64.
#[cfg(not(any(everprof_loom, miri)))]
fn home_count(named: Root) -> usize {
    if named == Root::HeapTable { 1024 } else { 64 }
}

/// Few, so that models come to taken ones as well.
#[cfg(any(everprof_loom, miri))]
fn home_count(_named: Root) -> usize {
    16
}

/// One head for each KiB: buckets take about half a KiB at depth 32, so that
/// chains stay at about two when the arena is full of the heap's. The others have
/// few stacks, and a sixteenth of the heads: they should cost a program that does
/// not use them next to nothing. At least 256 bytes of heads, at most 4 MiB.
#[cfg(not(any(everprof_loom, miri)))]
fn head_count(capacity_bytes: usize, named: Root) -> usize {
    let bytes_a_head = if matches!(named, Root::HeapTable | Root::TraceStacks) {
        1 << 10
    } else {
        1 << 14
    };
    (capacity_bytes / bytes_a_head)
        .clamp(64, 1 << 20)
        .next_power_of_two()
}

/// Few, so that models reach the collisions.
#[cfg(any(everprof_loom, miri))]
fn head_count(_capacity_bytes: usize, _named: Root) -> usize {
    2
}

#[cfg(all(test, not(everprof_loom)))]
mod tests;
