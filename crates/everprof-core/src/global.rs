//! The one real store, and the recorders that write to it. Absent under loom.
//!
//! Context: hot (`heap`, `tick`); signal (`on_cpu_signal`); cold otherwise.
//! Invariant: the only statics with the state of recorders. What all recorders share
//! (rules, memos, modules) is facts about code and stands where it is used.

use crate::allocation::Recorders;
use crate::cpu::{Profiler, Session, StartError};

use crate::heap::Recorder;
use crate::signal::Arrival;
use crate::store::Store;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};
use crate::tasks::{Entries, Places};
use crate::trace::{self, Tracer};
use crate::{clock, custom, labels, local, modules, sampler, spawn, sys, waits};

static STORE: Store = Store::new();
/// Where the first thread keeps its labels, and of which process that is true; 0: not known.
static FIRST_LABELS_AT: AtomicUsize = AtomicUsize::new(0);
static FIRST_PROCESS: AtomicU32 = AtomicU32::new(0);
static CPU: Profiler = Profiler::new();
static TASKS: Entries = Entries::new();
static TASK_PLACES: Places = Places::new();
static TRACER: Tracer = Tracer::new();

/// What all recorders of this process write to.
#[inline(always)]
pub fn store() -> &'static Store {
    &STORE
}

/// The heap's recorder.
#[inline(always)]
pub fn heap() -> Recorder<'static> {
    Recorder::of(&STORE)
}

/// Those whom the allocator tells of what is due: the heap's recorder and the tracer.
#[inline(always)]
pub fn allocations() -> Recorders<'static> {
    Recorders::of(&STORE, &TRACER)
}

/// Begins a trace, in at most `memory_bytes` unless an earlier one has made its memory. Cold.
///
/// With `marks` the objects of this process's allocator may be marked, and only frees of
/// marked ones are events; without, every free that it tells of.
///
/// # Errors
///
/// Where one is being taken, or there is no memory.
pub fn start_trace(
    memory_bytes: usize,
    marks: bool,
) -> Result<trace::Session<'static>, trace::StartError> {
    // Before any object is marked: it must be found when it goes, whenever that is, so
    // this is never undone.
    let before = || STORE.filter().look_at_all();
    let session = trace::Session::start(&TRACER, memory_bytes, marks, before)?;
    look_again();
    Ok(session)
}

/// What writes the events of traces.
#[inline(always)]
pub fn tracer() -> &'static Tracer {
    &TRACER
}

/// Whether a trace is being taken.
#[must_use]
pub fn is_tracing() -> bool {
    TRACER.is_on()
}

/// The CPU profile's handlers' side, for threads that begin to tell.
#[inline(always)]
pub fn cpu() -> &'static Profiler {
    &CPU
}

/// The memory of watched futures.
#[inline(always)]
pub(crate) fn tasks() -> &'static Entries {
    &TASKS
}

/// Where watched futures have waited lately.
#[inline(always)]
pub(crate) fn task_places() -> &'static Places {
    &TASK_PLACES
}

/// Begins a CPU profile of `hz` samples in a second of each thread's CPU time.
///
/// # Errors
///
/// See [`StartError`]; among others, where one is being taken.
pub fn start_cpu(hz: u32) -> Result<Session<'static>, StartError> {
    Session::start(&CPU, on_cpu_signal, hz)
}

fn on_cpu_signal(arrival: &Arrival<'_>) -> bool {
    CPU.on_signal(arrival)
}

/// The recorder of what a program says that it holds.
pub fn custom() -> custom::Recorder<'static> {
    custom::Recorder::of(&STORE)
}

/// This thread's label set, for keys of buckets elsewhere; 0: none.
pub fn label_set() -> u32 {
    local::with(|local| labels::in_force(&STORE, local))
}

/// The recorder of waits.
#[inline(always)]
pub fn waits() -> waits::Recorder<'static> {
    waits::Recorder::of(&STORE)
}

/// The recorder of threads.
#[must_use]
pub fn spawn() -> spawn::Recorder<'static> {
    spawn::Recorder::of(&STORE)
}

/// Counts `size_bytes` towards the next sample; true when it is due.
///
/// Context: hot.
#[inline(always)]
pub fn tick(size_bytes: usize) -> bool {
    local::with(|local| {
        let left = local.countdown.get().wrapping_sub(size_bytes as i64);
        local.countdown.set(left);
        left < 0
    })
}

/// What may only be done outside of the allocator: learns which modules are
/// loaded, and which clock to go by. To be called once before `main`; sampling works
/// without it, too.
pub fn on_start() {
    clock::begin();
    modules::refresh();
    if sys::thread_id() == sys::process_id() {
        let at = local::with(|local| std::ptr::from_ref(&local.labels).addr());
        // Relaxed, both: numbers, written before there are other threads.
        FIRST_PROCESS.store(sys::process_id(), Ordering::Relaxed);
        FIRST_LABELS_AT.store(at, Ordering::Relaxed);
    }
}

/// The set of the labels that a thread of this process has now, 0: none. Known of the first
/// thread, and of those whose creation was seen. Cold.
#[must_use]
pub fn labels_of(tid: u32) -> Option<u32> {
    // Relaxed, both: see `on_start`. A fork's child is another process.
    if tid == FIRST_PROCESS.load(Ordering::Relaxed) && tid == sys::process_id() {
        let at = FIRST_LABELS_AT.load(Ordering::Relaxed) as u64;
        return Some(spawn().labels_at(at));
    }
    spawn().labels_of(tid)
}

/// Leaves this thread out of all profiles, or takes it in again. Returns whether
/// it was left out before.
pub fn exclude_this_thread(excluded: bool) -> bool {
    let before = local::with(|local| local.excluded.replace(excluded));
    if before != excluded {
        look_again();
    }
    before
}

/// Makes this thread look at the sampler, and so at the period in force, at its
/// next allocation. Unbiased: no gap has a memory, so that the one under way may
/// be forgotten.
pub fn look_again() {
    local::with(sampler::restart);
}
