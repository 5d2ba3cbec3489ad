//! Records: what may stand in an arena.
//!
//! Context: sampled. Invariant: a record is valid whatever its bits are, so that neither
//! zeroed memory nor another process's file has to be believed.

use crate::sync::{AtomicU32, AtomicU64};

/// Types that may stand in an arena.
///
/// # Safety
/// `repr(C)` or a primitive, made of integers and atomic integers only, valid
/// whatever its bits are, alignment at most 64, no `Drop`.
pub unsafe trait Record {
    /// Makes `count` records at `at` valid where zeroed memory is not, which is
    /// only so for loom's atomics.
    ///
    /// # Safety
    /// `at` is aligned and good for writing `count` records that nobody else sees.
    unsafe fn init(at: *mut Self, count: usize)
    where
        Self: Sized;
}

/// Declares plain records: zeroed memory is their first state. Under loom each
/// is written as its `new()`.
macro_rules! records {
    ($($name:ty),+ $(,)?) => { $(
        // SAFETY: every type in the lists of this crate is repr(C) or primitive
        // and holds integers and atomic integers only.
        unsafe impl $crate::arena::Record for $name {
            #[cfg(not(everprof_loom))]
            unsafe fn init(_at: *mut Self, _count: usize) {}
            #[cfg(everprof_loom)]
            unsafe fn init(at: *mut Self, count: usize) {
                for index in 0..count {
                    // SAFETY: within the `count` records that the caller gives.
                    let at = unsafe { at.add(index) };
                    // SAFETY: aligned and ours, as the caller promises.
                    unsafe { at.write(<$name>::new_record()) };
                }
            }
        }
    )+ };
}
pub(crate) use records;

/// First states, for loom.
#[cfg_attr(
    not(any(test, everprof_loom)),
    allow(dead_code, reason = "loom and tests begin with it")
)]
pub(crate) trait NewRecord {
    /// The state that zeroed memory stands for.
    fn new_record() -> Self;
}

macro_rules! new_record {
    ($($name:ty => $value:expr),+ $(,)?) => { $(
        impl NewRecord for $name {
            fn new_record() -> Self {
                $value
            }
        }
    )+ };
}
new_record!(u8 => 0, u64 => 0, AtomicU32 => AtomicU32::new(0), AtomicU64 => AtomicU64::new(0));
records!(u8, u64, AtomicU32, AtomicU64);
