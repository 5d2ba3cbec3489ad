//! Bucket: one stack, what else tells it from others, and what a recorder keeps of it.
//!
//! Context: sampled. Invariant: a bucket's key and hash are written before it is linked, and
//! never again.

use super::cells::{Cells, Sides};
use crate::arena::{NewRecord, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// One stack and its counters, or whatever else `C` keeps of it. The stack's
/// addresses follow it in memory.
#[repr(C)]
#[derive(Debug)]
pub struct Bucket<C = Sides> {
    /// The next older bucket of the chain. Set before this one is linked.
    pub(super) next: AtomicU32,
    /// Addresses of the stack. This, the hash and the extra key: set as `next`.
    pub(super) depth: AtomicU32,
    pub(super) hash: AtomicU64,
    /// What tells buckets of one stack apart: the heap's size class.
    pub(super) extra: AtomicU64,
    /// The label set in force; 0: none.
    pub(super) labels: AtomicU32,
    /// Where the recorder keeps what else it knows of the stack; 0: nowhere. The only word that
    /// changes once the bucket is linked.
    aside: AtomicU32,
    pub(super) kept: C,
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
    #[inline]
    pub fn extra(&self) -> u64 {
        // Relaxed: written before the bucket was linked.
        self.extra.load(Ordering::Relaxed)
    }

    /// The label set that was in force; 0: none.
    #[must_use]
    #[inline]
    pub fn labels(&self) -> u32 {
        // Relaxed: written before the bucket was linked.
        self.labels.load(Ordering::Relaxed)
    }

    /// Where the recorder keeps what else it knows of the stack, or a mark of its own.
    #[inline]
    pub(crate) fn aside(&self) -> &AtomicU32 {
        &self.aside
    }
}

/// Folds one multiplication over each address. Addresses of one program share
/// their upper bits and differ in few of the lower: the high half of the
/// product, folded in, spreads them.
pub(super) fn hash(key: &Key<'_>) -> u64 {
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

impl<C: NewRecord> NewRecord for Bucket<C> {
    fn new_record() -> Self {
        Self {
            next: AtomicU32::new(0),
            depth: AtomicU32::new(0),
            hash: AtomicU64::new(0),
            extra: AtomicU64::new(0),
            labels: AtomicU32::new(0),
            aside: AtomicU32::new(0),
            kept: C::new_record(),
        }
    }
}
records!(Bucket<Sides>);

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Bucket>() == 160 && align_of::<Bucket>() == 8);
