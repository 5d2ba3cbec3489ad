//! Bucket table: finds or makes the bucket of a stack.
//!
//! Context: sampled. No global allocator, no lock, no panic.
//! Invariant: a linked bucket is never moved, unlinked or freed, and its stack,
//! hash and extra key never change.
//! Source: Go runtime/mprof.go; here insertion is one compare-and-swap, no lock.
//!
//! ```text
//! homes[hash >> 32 & …] → one bucket, for good
//! heads[hash & mask]    → newest bucket → … → oldest bucket → 0
//! ```
//!
//! The first bucket that comes to a home stays there; others with that home are in the
//! chains. So a program with few stacks touches the homes, a page, and none of the heads
//! that are made for 100,000 of them: 64 pages, of which each new stack would touch one.
//!
//! A bucket is linked by swapping an empty home, or the head that was scanned, for itself.
//! If the swap of a head fails somebody linked another bucket meanwhile: only what is new
//! in the chain is scanned. What has found its home taken is never put there, so no
//! stack is ever linked twice.

use std::marker::PhantomData;
use std::mem;
use std::ptr;

use crate::arena::{NewRecord, Offset, Record, Region, Root, records};
use crate::lost::{self, Lost};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

mod cells;

pub use cells::{COUNTERS, Cells, Counters, Sides};

/// One stack and its counters, or whatever else `C` keeps of it. The stack's
/// addresses follow it in memory.
#[repr(C)]
#[derive(Debug)]
pub struct Bucket<C = Sides> {
    /// The next older bucket of the chain. Set before this one is linked.
    next: AtomicU32,
    /// Addresses of the stack. This, the hash and the extra key: set as `next`.
    depth: AtomicU32,
    hash: AtomicU64,
    /// What tells buckets of one stack apart: the heap's size class.
    extra: AtomicU64,
    /// The label set in force; 0: none.
    labels: AtomicU32,
    spare: AtomicU32,
    kept: C,
}

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

/// What finds a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'k> {
    /// Addresses, leaf first.
    pub stack: &'k [u64],
    /// What else tells buckets apart; what it is, whoever records says.
    pub extra: u64,
    /// The label set in force; 0: none.
    pub labels: u32,
}

impl<C: NewRecord> NewRecord for Bucket<C> {
    fn new_record() -> Self {
        Self {
            next: AtomicU32::new(0),
            depth: AtomicU32::new(0),
            hash: AtomicU64::new(0),
            extra: AtomicU64::new(0),
            labels: AtomicU32::new(0),
            spare: AtomicU32::new(0),
            kept: C::new_record(),
        }
    }
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
records!(Bucket<Sides>, TableRoot);

impl Bucket {
    /// The counters of one side, 0 or 1.
    #[must_use]
    pub fn cells(&self, side: usize) -> Option<&Cells> {
        self.kept.0.get(side)
    }
}

impl<C> Bucket<C> {
    /// What the recorder keeps of this stack.
    #[must_use]
    pub fn kept(&self) -> &C {
        &self.kept
    }

    /// What tells buckets of one stack apart.
    #[must_use]
    pub fn extra(&self) -> u64 {
        // Relaxed: written before the bucket was linked.
        self.extra.load(Ordering::Relaxed)
    }

    /// The label set that was in force; 0: none.
    #[must_use]
    pub fn labels(&self) -> u32 {
        // Relaxed: written before the bucket was linked.
        self.labels.load(Ordering::Relaxed)
    }
}

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

/// Folds one multiplication over each address. Addresses of one program share
/// their upper bits and differ in few of the lower: the high half of the
/// product, folded in, spreads them.
fn hash(key: &Key<'_>) -> u64 {
    let start = fold(key.extra ^ (key.stack.len() as u64) ^ u64::from(key.labels) << 32);
    key.stack
        .iter()
        .fold(start, |hash, &pc| fold(hash.rotate_left(23) ^ pc))
}

fn fold(value: u64) -> u64 {
    // 2⁶⁴ ÷ golden ratio, odd; and a multiplier that spreads well, from
    // C. Wellons' hash-prospector (degski's).
    let product = u128::from(value ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    (product as u64) ^ (product >> 64) as u64
}

/// Where a bucket's home is, of `count`: by bits that its head does not depend on.
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

#[cfg(not(everprof_loom))]
const _: () = assert!(mem::size_of::<Bucket>() == 160 && mem::align_of::<Bucket>() == 8);

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arena::Arena;

    const SMALL: usize = 64 * 1024;

    fn key(stack: &[u64], extra: u64) -> Key<'_> {
        Key {
            stack,
            extra,
            labels: 0,
        }
    }

    fn create(arena: &Arena) -> Table<'_> {
        Table::create(arena.region(), Root::HeapTable).unwrap()
    }

    #[test]
    fn same_stack_and_extra_is_the_same_bucket() {
        let arena = Arena::anonymous(SMALL).unwrap();
        let table = create(&arena);
        let bucket = table.find_or_insert(&key(&[100, 200], 8)).unwrap();
        assert_eq!(table.find_or_insert(&key(&[100, 200], 8)), Some(bucket));
        assert_ne!(table.find_or_insert(&key(&[100, 200], 16)), Some(bucket));
        assert_ne!(table.find_or_insert(&key(&[100], 8)), Some(bucket));
        assert_ne!(table.find_or_insert(&key(&[100, 200, 0], 8)), Some(bucket));
        let labelled = Key {
            labels: 7,
            ..key(&[100, 200], 8)
        };
        assert_ne!(table.find_or_insert(&labelled), Some(bucket));
        assert_eq!(table.stack(bucket).unwrap(), [100, 200]);
        assert_eq!(table.bucket(bucket).unwrap().extra(), 8);
        assert!(table.is_valid());
    }

    #[test]
    fn full_table_still_finds_and_has_its_lost_buckets() {
        let arena = Arena::anonymous(SMALL).unwrap();
        let table = create(&arena);
        let mut made = 0;
        while table.find_or_insert(&key(&[1000 + made; 16], 8)).is_some() {
            made += 1;
        }
        assert!(made > 50);
        assert!(table.find_or_insert(&key(&[1000; 16], 8)).is_some());
        assert_eq!(
            table.stack(table.lost(Lost::TableFull).unwrap()).unwrap(),
            [Lost::TableFull.pc()]
        );
        assert!(table.is_valid());
    }

    #[cfg(not(miri))]
    #[test]
    fn few_stacks_touch_no_heads() {
        let arena = Arena::anonymous(64 << 20).unwrap();
        for named in [Root::HeapTable, Root::BlockTable, Root::MutexTable] {
            let table = Table::create(arena.region(), named).unwrap();
            // Relaxed: nobody else is here.
            let is_empty = |head: &AtomicU32| head.load(Ordering::Relaxed) == 0;
            assert!(table.heads.iter().all(is_empty), "{named:?}");
            let stacks = table.homes.len() as u64 / 32;
            for n in 0..stacks {
                let stack = [0x4000 + 16 * n, 99];
                assert!(table.find_or_insert(&key(&stack, 8)).is_some());
            }
            let taken = table.heads.iter().filter(|head| !is_empty(head)).count();
            assert!(taken <= 1, "{taken} heads for {stacks} stacks");
        }
    }

    #[test]
    fn opened_table_is_the_one_created() {
        let arena = Arena::anonymous(SMALL).unwrap();
        assert!(Table::open(arena.region(), Root::HeapTable).is_none());
        let bucket = create(&arena).find_or_insert(&key(&[70, 80], 24)).unwrap();
        let table = Table::open(arena.region(), Root::HeapTable).unwrap();
        assert_eq!(table.find_or_insert(&key(&[70, 80], 24)), Some(bucket));
    }

    #[test]
    fn threads_that_race_agree_on_every_bucket() {
        let arena = Arena::anonymous(1 << 20).unwrap();
        let table = create(&arena);
        let stacks = if cfg!(miri) { 10 } else { 500 };
        let found: Vec<Vec<Offset>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..stacks)
                            .map(|n| table.find_or_insert(&key(&[64 + n, 99], 8)).unwrap())
                            .collect()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
        assert!(table.is_valid());
    }
}
