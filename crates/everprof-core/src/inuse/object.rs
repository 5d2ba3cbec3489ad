//! Object: what is kept of a sampled one while it is in use, and the cell that holds it.
//!
//! Context: sampled. Invariant: a cell is written only by whoever holds its slot as BUSY
//! ([`super::segment`]), and read by whoever has seen the key that it stands beside.

use crate::arena::{NewRecord, Offset, records};
use crate::sampler::Weight;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A sampled object that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// The bucket of its allocation.
    pub bucket: Offset,
    /// What its free takes off; all zero for one inherited by fork.
    pub weight: Weight,
    /// How far into the inner block it stands.
    pub shift: usize,
    /// When it was allocated, by the clock of whoever records: nanoseconds of the coarse
    /// monotonic one, or a managed heap's cycle.
    pub born: u64,
}

/// What of an object stands beside its key. The key publishes it.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Cell {
    bucket: AtomicU32,
    /// 0, or one more than the shift's binary logarithm.
    shift: AtomicU32,
    size_bytes: AtomicU64,
    objects_q8: AtomicU64,
    bytes: AtomicU64,
    born: AtomicU64,
}

impl Cell {
    // Relaxed throughout: a cell is published by its key.
    pub(super) fn write(&self, object: &Object) {
        let shift = object.shift.checked_ilog2().map_or(0, |log| log + 1);
        self.bucket.store(object.bucket.raw(), Ordering::Relaxed);
        self.shift.store(shift, Ordering::Relaxed);
        self.size_bytes
            .store(object.weight.size_bytes, Ordering::Relaxed);
        self.objects_q8
            .store(object.weight.objects_q8, Ordering::Relaxed);
        self.bytes.store(object.weight.bytes, Ordering::Relaxed);
        self.born.store(object.born, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Option<Object> {
        let shift = self.shift.load(Ordering::Relaxed);
        Some(Object {
            bucket: Offset::from_raw(self.bucket.load(Ordering::Relaxed))?,
            weight: Weight {
                size_bytes: self.size_bytes.load(Ordering::Relaxed),
                objects_q8: self.objects_q8.load(Ordering::Relaxed),
                bytes: self.bytes.load(Ordering::Relaxed),
            },
            shift: if shift == 0 {
                0
            } else {
                1usize.checked_shl(shift - 1)?
            },
            born: self.born.load(Ordering::Relaxed),
        })
    }

    /// From now on the object weighs nothing: in a fork's child, where only one thread is.
    pub(super) fn disown(&self) {
        self.size_bytes.store(0, Ordering::Relaxed);
        self.objects_q8.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }
}

impl NewRecord for Cell {
    fn new_record() -> Self {
        Self {
            bucket: AtomicU32::new(0),
            shift: AtomicU32::new(0),
            size_bytes: AtomicU64::new(0),
            objects_q8: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            born: AtomicU64::new(0),
        }
    }
}
records!(Cell);

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Cell>() == 40);
