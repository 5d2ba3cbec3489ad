//! Heaps with deferred frees: those of language runtimes, arenas, caches that sweep.
//!
//! Context: hot where it says so, else cold. Invariant: as `everprof_core::managed`.

use std::fmt;
use std::sync::Arc;

use everprof_core::global;
use everprof_core::local::Local;
use everprof_core::managed::{Allocation, Freed, Heap};
use everprof_core::stack::Registers;
use everprof_core::trace::{GcStep, ManagedObject};

use super::HeapRecord;
use crate::added::{self, About, Added};
use crate::assemble;
use crate::config;
use crate::error::{Error, Kind};
use crate::profile::{Ask, Listing, Profile, Taken, Time};
use crate::start::LeftOut;
use crate::trace;

/// The profile of a heap that frees late: one with a garbage collector, say.
///
/// Such a heap learns of garbage at one time and frees it bit by bit afterwards, while
/// the program goes on to allocate. Were all that counted as it happens, the profile
/// would show garbage as in use, more of it the longer the sweep takes. This one shows
/// the heap as it was at a *mark termination*: the end of marking, when what is in use
/// and what is garbage is known.
///
/// It becomes the profile `heap/{name}`: on the endpoint, in [`lookup`](crate::profile::lookup)
/// and in [`all`](crate::profile::all), with the sample types of `heap`, until it is
/// dropped. Allocations are sampled as the global allocator's are, by a
/// [period](Managed::set_period) of the heap's own.
///
/// ```
/// use everprof::heap::Managed;
///
/// let heap = Managed::new("scripts")?;
/// heap.set_period(1); // exact, for a small heap
///
/// // The allocator of the runtime:
/// heap.record_alloc(0x1000, 24, Some("Cons"));
/// heap.record_alloc(0x1040, 24, Some("Cons"));
///
/// // Its collector. Marking found one of them to be garbage:
/// heap.next_cycle(); // with the mutators still stopped
/// heap.flush(); // they run again
/// heap.record_sweep_free(0x1040);
/// heap.post_sweep(); // all garbage is freed
///
/// let objects: u64 = heap.records().iter().map(|record| record.in_use_objects()).sum();
/// assert_eq!(objects, 1);
/// # Ok::<(), everprof::Error>(())
/// ```
///
/// # What counts when
///
/// With the clock at cycle C, allocations and [explicit frees](Managed::record_free)
/// count towards cycle C+2, frees by the [sweep](Managed::record_sweep_free) towards
/// C+1. [`next_cycle`](Managed::next_cycle) makes C one more, [`flush`](Managed::flush)
/// shows cycle C, [`post_sweep`](Managed::post_sweep) shows C+1. So a flush shows the
/// mark termination before the last, whose sweep is over, and the end of the sweep the
/// last one. Before the first is over, all that was recorded is shown as it stands.
///
/// # Overhead
///
/// An allocation that is not sampled is a subtraction and a comparison in the thread's
/// own memory; a free of what was not sampled is one load. Each also asks whether a
/// [trace](crate::trace) is being taken: another load. No call waits for another,
/// but for `flush`, `post_sweep` and readers, which take turns (docs/overhead.md has the
/// numbers of the bench `managed`). The records take at most the memory that
/// [`with_memory_limit`](Managed::with_memory_limit) says, 64 MiB unless told otherwise;
/// near it samples become fewer and heavier.
///
/// # Fork
///
/// In a child the heap is empty at first, as all profiles are: what the parent had
/// allocated is not in it.
pub struct Managed {
    inner: Arc<Inner>,
}

struct Inner {
    /// Its name: `heap/` and the heap's own.
    about: Arc<About>,
    heap: Heap,
    /// What traces know it by.
    number: u32,
}

thread_local! {
    /// Managed heaps' countdown on this thread; the global allocator has its own.
    /// Without a destructor, so that there is one at any time.
    static LOCAL: Local = const { Local::new() };
}

impl Managed {
    /// The profile `heap/{name}`, empty, whose records take at most as much memory as
    /// the global allocator's.
    ///
    /// # Errors
    ///
    /// Where another managed heap has this name ([`Error::is_busy`]), it is no part of
    /// an address ([`Error::is_invalid`]), or there is no memory.
    pub fn new(name: &str) -> Result<Self, Error> {
        Self::with_memory_limit(name, global::store().memory_limit())
    }

    /// As [`Managed::new`], whose records take at most `bytes`; at least 512 KiB.
    ///
    /// # Errors
    ///
    /// As [`Managed::new`].
    pub fn with_memory_limit(name: &str, bytes: usize) -> Result<Self, Error> {
        // Names of everprof's own mean nothing behind `heap/`.
        match added::check(name) {
            Ok(()) | Err(added::BadName::Kept) => {}
            Err(bad) => return Err(bad.error(name)),
        }
        let heap = Heap::new(bytes, global::heap().period()).ok_or_else(|| {
            Error::new(
                Kind::Io,
                format!("no memory for the records of the heap `{name}`: wanted {bytes} bytes"),
            )
        })?;
        let inner = Arc::new(Inner {
            about: Arc::new(About {
                name: format!("heap/{name}"),
                description: format!(
                    "Where the memory in use in the managed heap {name} was allocated, as of \
                     its last garbage collection"
                ),
                time: Time::Cumulative,
            }),
            heap,
            number: trace::heaps::number_of(name),
        });
        let added: Arc<dyn Added> = inner.clone();
        added::add(&added)?;
        Ok(Self { inner })
    }

    /// The name of its profile: `heap/` and the name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.about.name
    }

    /// Records an allocation: to be called before the object can be freed. `address` may
    /// be any number that the object has alone until then: where the collector moves
    /// objects, the handle that stays.
    ///
    /// # Context
    ///
    /// Neither allocates nor locks. Not for signal handlers.
    #[inline(always)]
    pub fn record_alloc(&self, address: usize, size_bytes: usize, type_name: Option<&str>) {
        if global::tracer().may_be_on() {
            self.trace_alloc(address, size_bytes, type_name);
        }
        let heap = &self.inner.heap;
        LOCAL.with(|local| {
            if heap.is_due(local, size_bytes) {
                let allocation = Allocation {
                    address,
                    size_bytes,
                    type_name,
                    labels: global::label_set(),
                };
                heap.record_due(local, &allocation, &Registers::here());
            }
        });
    }

    /// Records that the program itself freed an object: to be called before its
    /// address can be allocated again.
    #[inline]
    pub fn record_free(&self, address: usize) {
        self.trace_free(address, false);
        if self.inner.heap.may_be_sampled(address) {
            self.inner.heap.record_free(address, Freed::Explicitly);
        }
    }

    /// Records that the sweep freed an object, which was garbage at the last mark
    /// termination: to be called before its address can be allocated again.
    #[inline]
    pub fn record_sweep_free(&self, address: usize) {
        self.trace_free(address, true);
        if self.inner.heap.may_be_sampled(address) {
            self.inner.heap.record_free(address, Freed::BySweep);
        }
    }

    /// Marking has ended. To be called while the mutators are stopped, or at the instant
    /// that is to be the mark termination: what is recorded afterwards counts towards
    /// later cycles. Constant time, no lock, no allocation.
    ///
    /// False: the cycle was not [flushed](Managed::flush) since the last call. Then it
    /// goes on, and this mark termination is shown with the next one.
    pub fn next_cycle(&self) -> bool {
        self.trace_step(GcStep::NextCycle);
        self.inner.heap.next_cycle()
    }

    /// Shows the cycle that `next_cycle` began: to be called once the mutators run
    /// again, before the next `next_cycle`. A second call in a cycle does nothing.
    pub fn flush(&self) {
        self.trace_step(GcStep::Flush);
        self.inner.heap.flush();
    }

    /// Sweeping has ended: shows the heap at the last mark termination. All calls of
    /// [`record_sweep_free`](Managed::record_sweep_free) of this cycle have returned.
    pub fn post_sweep(&self) {
        self.trace_step(GcStep::PostSweep);
        self.inner.heap.post_sweep();
    }

    #[cold]
    #[inline(never)]
    fn trace_alloc(&self, address: usize, size_bytes: usize, type_name: Option<&str>) {
        let object = ManagedObject {
            heap: self.inner.number,
            address: address as u64,
            size_bytes: size_bytes as u64,
            type_name,
        };
        global::tracer().managed_allocated(&object, &Registers::here());
    }

    #[inline]
    fn trace_free(&self, address: usize, swept: bool) {
        if global::tracer().may_be_on() {
            global::tracer().managed_freed(self.inner.number, address as u64, swept);
        }
    }

    #[inline]
    fn trace_step(&self, step: GcStep) {
        if global::tracer().may_be_on() {
            global::tracer().collected(self.inner.number, step);
        }
    }

    /// Mean bytes between samples; 0 where nothing is recorded.
    #[must_use]
    pub fn period(&self) -> u64 {
        self.inner.heap.period()
    }

    /// Sets the mean bytes between samples, from each thread's next allocation on. At
    /// first it is the global allocator's. 1 records every allocation, exactly; 0 none.
    /// `EVERPROF=heap=…` overrides the code: this then does nothing.
    pub fn set_period(&self, bytes: u64) {
        if config::told().heap_period_bytes.is_none() {
            self.inner.heap.set_period(bytes);
        }
    }

    /// Calls `visit` with each record of the heap as it is shown now.
    pub fn for_each(&self, mut visit: impl FnMut(&HeapRecord<'_>)) {
        let snapshot = self.inner.heap.snapshot();
        for bucket in snapshot.iter() {
            visit(&HeapRecord::typed(&bucket.bucket, bucket.type_name));
        }
    }

    /// The records of the heap as it is shown now, also of what was freed.
    #[must_use]
    pub fn records(&self) -> Vec<HeapRecord<'static>> {
        let mut records = Vec::new();
        self.for_each(|record| records.push(record.clone().into_owned()));
        records
    }

    /// Its profile as it is shown now, with the names of functions.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let _left_out = LeftOut::new();
        let taken = assemble::managed(&self.inner.heap);
        Listing::Added(Arc::clone(&self.inner.about)).finished(taken)
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        // Somebody may be taking its profile and keep the rest until that is done.
        added::remove(self.name());
    }
}

impl Added for Inner {
    fn about(&self) -> &Arc<About> {
        &self.about
    }

    fn count(&self) -> usize {
        self.heap.snapshot().iter().count()
    }

    fn take(&self, _: &Ask<'_>) -> Result<Taken, Error> {
        Ok(assemble::managed(&self.heap))
    }
}

impl fmt::Debug for Managed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Managed")
            .field("name", &self.name())
            .field("cycle", &self.inner.heap.cycle().number())
            .finish_non_exhaustive()
    }
}
