//! Where memory was allocated: its profiles' settings and records.
//!
//! A sample stands for objects of one stack and size class. The gap between
//! samples is exponential, with a mean of the [`period`] in bytes, on each
//! thread; an object of *s* bytes is recorded with probability
//! `p = 1 − exp(−s / period)` and then stands for `1 / p` objects and `s / p`
//! bytes. The same weight is taken off when it is freed, on whichever thread. So
//! every figure is unbiased, for large and small objects, and the period may be
//! changed at any time.
//!
//! The profiles are empty unless the program's `#[global_allocator]` is an
//! [`Alloc`](crate::Alloc), or it runs under `everprof run`.
//!
//! Context: cold. Invariant: no figure shows more freed than allocated.
//! Source: Go's `runtime.MemProfile` and `MemProfileRecord`.

use std::borrow::Cow;

use everprof_core::global;
use everprof_core::heap::{Bucket, Tally};

use crate::assemble::{self, DefaultType};
use crate::config;
use crate::profile::{LongText, Source, Time};
pub use managed::Managed;

mod managed;

/// Mean bytes between samples; 0 where nothing is recorded.
#[must_use]
pub fn period() -> u64 {
    global::heap().period()
}

/// Sets the mean bytes between samples. 1 records every allocation, exactly; 0
/// none. At first it is 512 KiB.
///
/// What is recorded already keeps its weight. The calling thread, and those
/// that it starts from now on, go by the new period at once; others from their
/// next sample on, or when they have allocated 64 MiB. `EVERPROF=heap=…`
/// overrides the code: this then does nothing.
///
/// # Overhead
///
/// In proportion to the samples: one, with the free of its object, takes 0.3 µs where
/// stacks are 32 deep (x86_64, `cargo xtask bench sample`).
///
/// ```
/// everprof::heap::set_period(64 << 10); // eight times as many samples as at first
/// assert_eq!(everprof::heap::period(), 64 << 10);
/// ```
pub fn set_period(bytes: u64) {
    if config::told().heap_period_bytes.is_none() {
        global::heap().set_period(bytes);
        global::look_again();
    }
}

/// Whether objects that have been freed are wanted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeFreed {
    /// Also stacks none of whose objects are in use.
    Yes,
    /// Only stacks with objects in use.
    No,
}

/// What one stack has allocated, in objects of one size class.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HeapRecord<'a> {
    /// Allocated since the program started.
    pub allocated: Amount,
    /// Freed of that.
    pub freed: Amount,
    /// The greatest size of the class in bytes: sizes are told apart by 8 up to
    /// 1,024, then by an eighth of their power of two.
    pub size_class_bytes: u64,
    /// Return addresses, the allocation first. It begins with the frames of the
    /// allocator itself; a number below 64 says that there is more that was not
    /// recorded.
    pub stack: Cow<'a, [u64]>,
    /// The name of the objects' type, where a [`Managed`] heap was told.
    pub type_name: Option<Cow<'a, str>>,
}

/// Objects and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Amount {
    /// Objects, as estimated from the samples.
    pub objects: u64,
    /// Bytes, as estimated from the samples.
    pub bytes: u64,
    /// Objects that were samples.
    pub sampled_objects: u64,
    /// Bytes of those.
    pub sampled_bytes: u64,
}

impl HeapRecord<'_> {
    /// Bytes allocated and not freed.
    #[must_use]
    pub fn in_use_bytes(&self) -> u64 {
        self.allocated.bytes.saturating_sub(self.freed.bytes)
    }

    /// Objects allocated and not freed.
    #[must_use]
    pub fn in_use_objects(&self) -> u64 {
        self.allocated.objects.saturating_sub(self.freed.objects)
    }

    /// The same record, on its own.
    #[must_use]
    pub fn into_owned(self) -> HeapRecord<'static> {
        HeapRecord {
            stack: Cow::Owned(self.stack.into_owned()),
            type_name: self.type_name.map(|name| Cow::Owned(name.into_owned())),
            ..self
        }
    }
}

impl<'a> HeapRecord<'a> {
    fn typed(bucket: &Bucket<'a>, type_name: Option<&'a str>) -> Self {
        Self {
            type_name: type_name.map(Cow::Borrowed),
            ..Self::from(bucket)
        }
    }
}

impl<'a> From<&Bucket<'a>> for HeapRecord<'a> {
    fn from(bucket: &Bucket<'a>) -> Self {
        Self {
            allocated: Amount::from(&bucket.alloc),
            freed: Amount::from(&bucket.freed),
            size_class_bytes: bucket.size_class_bytes,
            stack: Cow::Borrowed(bucket.stack),
            type_name: None,
        }
    }
}

impl From<&Tally> for Amount {
    fn from(tally: &Tally) -> Self {
        Self {
            objects: tally.objects.round() as u64,
            bytes: tally.bytes,
            sampled_objects: tally.samples,
            sampled_bytes: tally.sampled_bytes,
        }
    }
}

/// The records of this instant.
///
/// # Overhead
///
/// Every record is copied, on this thread; no thread that allocates waits. The
/// bench `snapshot` has 100,000 of them.
///
/// ```
/// use everprof::heap::{IncludeFreed, records};
///
/// let in_use: u64 = records(IncludeFreed::No).iter().map(|record| record.in_use_bytes()).sum();
/// println!("{in_use} bytes in use");
/// ```
#[must_use]
pub fn records(freed: IncludeFreed) -> Vec<HeapRecord<'static>> {
    let mut records = Vec::new();
    for_each(|record| {
        if freed == IncludeFreed::Yes || record.in_use_objects() > 0 {
            records.push(record.clone().into_owned());
        }
    });
    records
}

/// Calls `visit` with each record of this instant, also of freed objects.
/// Copies no stack and allocates nothing of the program's heap.
///
/// # Overhead
///
/// As [`records`], without the copies of stacks.
///
/// ```
/// let (mut stacks, mut bytes) = (0, 0);
/// everprof::heap::for_each(|record| {
///     stacks += 1;
///     bytes += record.in_use_bytes();
/// });
/// println!("{bytes} bytes in use, in {stacks} records");
/// ```
pub fn for_each(mut visit: impl FnMut(&HeapRecord<'_>)) {
    let snapshot = global::heap().snapshot();
    for bucket in snapshot.iter() {
        visit(&HeapRecord::from(&bucket));
    }
}

/// What is in use.
pub(crate) static HEAP: Source = Source {
    name: "heap",
    description: "Where the memory in use was allocated, a sampling. \
        `gc` is accepted and does nothing; `age=60s` shows only objects older than that.",
    time: Time::Cumulative,
    has_age: true,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::None,
    count,
    take: |ask| Ok(assemble::heap(DefaultType::InUse, ask)),
};

/// What has ever been allocated.
pub(crate) static ALLOCS: Source = Source {
    name: "allocs",
    description: "Where all memory was allocated since the program started, a sampling",
    time: Time::Cumulative,
    has_age: false,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::None,
    count,
    take: |ask| Ok(assemble::heap(DefaultType::Allocated, ask)),
};

fn count() -> usize {
    global::heap().snapshot().iter().count()
}
