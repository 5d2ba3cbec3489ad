//! Tracer: writes events of the calling thread, if a trace is being taken.
//!
//! Context: sampled. Invariant: no event is written, and nothing made, unless `on` said so;
//! an event that is written when the trace has just ended stays in its buffer, and the next
//! trace passes it over by its time.

use std::fmt;
use std::ptr;
use std::sync::atomic::compiler_fence;
use std::time::Duration;

use super::buffers::Buffers;
use super::ending::Ending;
use super::marks::{Mark, Marks};
use super::stacks::Stacks;
use super::thread::ALWAYS_DUE;
use super::words::{Event, StackAt};
use crate::arena::{Arena, Region};
use crate::clock;
use crate::fork::Guard;
use crate::local::{self, Local};
use crate::managed::types::Types;
use crate::sampler;
use crate::scratch;
use crate::stack::{self, Registers};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::sys;

/// Takes at most one trace at a time. All bits zero at first.
pub struct Tracer {
    /// The number of the trace that is being taken; 0: none. Written by its session.
    pub(super) on: AtomicU32,
    /// Traces begun so far.
    pub(super) traces: AtomicU32,
    /// The process that takes one now, whether or not it is on yet; 0: none.
    pub(super) taken_by: AtomicU32,
    /// The thread that writes it; 0: none, or it has not begun. Written by its session.
    pub(super) written_by: AtomicU32,
    /// How often the buffers were made anew: what threads had before is void.
    made: AtomicU32,
    /// Events of threads that have no buffer.
    pub(super) lost: AtomicU64,
    marks: Marks,
    /// Null until the first trace; then never written again, nor given back. Written by who
    /// takes that, so that nobody ever waits for it: a fork's child would for ever.
    memory: AtomicPtr<Memory>,
    fork: Guard,
    pub(super) ending: Ending,
}

/// What a trace is written to on its way out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    region: Region<'static>,
    pub(super) buffers: Buffers<'static>,
    pub(super) stacks: Stacks<'static>,
    pub(super) types: Types<'static>,
}

/// An allocation under way that is to be an event.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Allocation {
    size_bytes: u64,
    stack: StackAt,
}

/// Where a reallocated object stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    pub(crate) address: u64,
    /// When it was still there; none: nobody has looked.
    pub(crate) ticks: Option<u64>,
}

impl Tracer {
    /// One that takes no trace.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "64 KiB: to be placed, not passed"
    )]
    pub const fn new() -> Self {
        Self {
            on: AtomicU32::new(0),
            traces: AtomicU32::new(0),
            taken_by: AtomicU32::new(0),
            written_by: AtomicU32::new(0),
            made: AtomicU32::new(0),
            lost: AtomicU64::new(0),
            marks: Marks::new(),
            memory: AtomicPtr::new(ptr::null_mut()),
            fork: Guard::new(),
            ending: Ending::new(),
        }
    }

    /// Whether a trace is being taken, of this process.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        // Acquire: pairs with the Release in `Session::start`; what was made is seen.
        self.on.load(Ordering::Acquire) != 0 && !self.fork.happened()
    }

    /// Bytes of memory that traces take; they are kept for the next one.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.memory().map_or(0, |memory| memory.region.used_bytes())
    }

    /// Counts an allocation that the fast path found due; true if it is for the sampler, too.
    /// Makes every allocation of this thread due as long as a trace is being taken.
    pub(crate) fn count(&self, local: &Local, size_bytes: usize) -> bool {
        let state = &local.trace;
        if state.traced.get() {
            // First: a handler that comes now finds its allocations due.
            local.countdown.set(ALWAYS_DUE);
            let left = state.parked.get().wrapping_sub(size_bytes as i64);
            state.parked.set(left);
            if left >= 0 {
                return false;
            }
        }
        true
    }

    /// Joins this thread to the trace that is being taken, or lets it go when none is.
    /// To be called when the sampler has been asked. True: its event is to be written.
    pub(crate) fn sees(&self, local: &Local) -> bool {
        let state = &local.trace;
        let on = self.is_on() && !local.excluded.get();
        if on && !state.traced.get() {
            state.parked.set(local.countdown.get());
            state.traced.set(true);
        } else if !on && state.traced.get() {
            // The gap under way is forgotten, which no gap minds; in this order.
            sampler::restart(local);
            state.traced.set(false);
            sampler::restart(local);
        }
        if on {
            // Always: a handler that came in the midst of `set_left` may have joined, and the
            // sampler's gap been stored where it no longer belongs.
            local.countdown.set(ALWAYS_DUE);
        }
        on
    }

    /// The allocation under way, with the stack that it is asked for in.
    pub(crate) fn begin(
        &self,
        local: &Local,
        size_bytes: usize,
        registers: &Registers,
        skip: &std::ops::Range<u64>,
    ) -> Option<Allocation> {
        let memory = self.memory()?;
        let stack = scratch::captured(
            |stack| stack::capture(registers, &local.stack, stack, skip).depth,
            |stack| memory.stacks.at(stack),
        );
        Some(Allocation {
            size_bytes: size_bytes as u64,
            stack,
        })
    }

    /// The object stands at `address`.
    pub(crate) fn allocated(&self, local: &Local, allocation: Allocation, address: u64) {
        self.write(
            local,
            ticks(),
            &Event::Alloc {
                address,
                size_bytes: allocation.size_bytes,
                stack: allocation.stack,
            },
        );
    }

    /// The object of `from` stands at `address`.
    pub(crate) fn reallocated(
        &self,
        local: &Local,
        allocation: Allocation,
        from: From,
        address: u64,
    ) {
        let now = ticks();
        let began = from.ticks.unwrap_or(now);
        self.write(
            local,
            began,
            &Event::Realloc {
                old_address: from.address,
                address,
                size_bytes: allocation.size_bytes,
                stack: allocation.stack,
                took_ticks: now.saturating_sub(began),
            },
        );
    }

    /// The object at `address` went at `ticks`.
    pub(crate) fn freed(&self, local: &Local, ticks: u64, address: u64) {
        self.write(local, ticks, &Event::Free { address });
    }

    /// Marks the object at `address`, so that its free is told from others.
    pub(crate) fn mark(&self, address: u64, mark: Mark) {
        if !self.marks.mark(address, mark) {
            // No memory for marks: not one more object may need any.
            // Relaxed: publishes nothing.
            self.on.store(0, Ordering::Relaxed);
        }
    }

    /// Takes the marks of the object at `address` away.
    #[inline]
    pub(crate) fn take_mark(&self, address: u64) -> Option<Mark> {
        self.marks.take(address)
    }

    /// Whether objects may have marks.
    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Whether a trace may be being taken: a load, for those who ask at every event.
    #[inline(always)]
    #[must_use]
    pub fn may_be_on(&self) -> bool {
        // Relaxed: whoever goes on asks `is_on`.
        self.on.load(Ordering::Relaxed) != 0
    }

    /// A thread goes on that slept: it need not wait for its next sample to join.
    #[inline(always)]
    pub(crate) fn after_sleep(&self) {
        if self.may_be_on() {
            Self::look_soon();
        }
    }

    #[cold]
    fn look_soon() {
        local::with(|local| {
            if !local.trace.traced.get() && !local.excluded.get() {
                sampler::restart(local);
            }
        });
    }

    /// To be called when the process is about to end: asks for the end of the trace that it
    /// takes, and waits until that is written, 2 s at most.
    ///
    /// Context: signal; any lock may be held. A child of `fork` or `vfork` goes straight
    /// through: the trace is its parent's, and so is all memory that it sees.
    pub fn before_exit(&self) {
        // Relaxed, both: numbers. A trace that begins just now has no event yet.
        let taken_by = self.taken_by.load(Ordering::Relaxed);
        if taken_by == 0 || taken_by != sys::process_id() || self.fork.happened() {
            return;
        }
        // A child of `vfork` in a new namespace of process ids may have its parent's number, and
        // shares all memory that would tell them apart. But it has no thread that writes.
        // Relaxed: a number. 0 until that thread has begun, as if it were there.
        let written_by = self.written_by.load(Ordering::Relaxed);
        if written_by != 0 && !sys::thread_is_alive(written_by) {
            return;
        }
        let trace = self.traces.load(Ordering::Relaxed);
        // What is waited for here is no wait of the program's.
        let before = local::with(|local| local.excluded.replace(true));
        self.ending.ask(trace);
        self.ending.wait(trace, PATIENCE);
        local::with(|local| local.excluded.set(before));
    }

    pub(super) fn write(&self, local: &Local, ticks: u64, event: &Event) {
        let Some(memory) = self.memory() else {
            return;
        };
        let state = &local.trace;
        if !state.begin_writing() {
            // This is a handler that came in the midst of writing.
            return;
        }
        // A handler on this thread finds us writing before anything is written.
        compiler_fence(Ordering::SeqCst);
        // Relaxed: changes in a fork's child only, by its only thread.
        let made = self.made.load(Ordering::Relaxed);
        if state.made.get() != made {
            state.own.forget();
            state.made.set(made);
        }
        let buffers = &memory.buffers;
        let has_joined =
            buffers.has_joined(&state.own) || buffers.join(&state.own, sys::thread_id());
        if !has_joined || !buffers.append(&state.own, ticks, event) {
            // Relaxed: a figure.
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        let refused = state.refused_meanwhile();
        if refused != 0 && !buffers.count_lost(&state.own, refused) {
            // Relaxed: as above.
            self.lost.fetch_add(refused, Ordering::Relaxed);
        }
        compiler_fence(Ordering::SeqCst);
        state.end_writing();
    }

    pub(super) fn memory(&self) -> Option<&'static Memory> {
        // Acquire: pairs with the Release in `prepare`; it is whole.
        let memory = self.memory.load(Ordering::Acquire);
        // SAFETY: null, or what `prepare` has leaked.
        unsafe { memory.as_ref() }
    }

    /// Makes what a trace needs, of `bytes` at most, unless an earlier one has. Cold; by who
    /// has claimed to be the only one (`taken_by`).
    pub(super) fn prepare(&self, bytes: usize) -> bool {
        if self.memory().is_none() {
            self.fork.arm_first();
            let Some(memory) = Memory::new(bytes) else {
                return false;
            };
            // Release: publishes it. Pairs with the Acquire in `memory`.
            self.memory
                .store(Box::leak(Box::new(memory)), Ordering::Release);
        }
        // A child may have been forked after the guard was armed, whatever had been made then.
        if self.fork.happened() {
            self.fork.once(|| self.begin_anew());
        }
        true
    }

    /// In a fork's child: nobody has a buffer.
    fn begin_anew(&self) {
        if let Some(memory) = self.memory() {
            memory.buffers.reset();
        }
        // Relaxed, all: only one thread is here. The trace was the parent's.
        self.on.store(0, Ordering::Relaxed);
        self.made.fetch_add(1, Ordering::Relaxed);
        self.lost.store(0, Ordering::Relaxed);
    }
}

/// The longest that a program's end waits for its trace: for a pipe whose reader is slow, say,
/// or where the writer needs what the thread that ends the program holds.
const PATIENCE: Duration = Duration::from_secs(2);

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("on", &self.on)
            .finish_non_exhaustive()
    }
}

impl Memory {
    fn new(bytes: usize) -> Option<Self> {
        let (base, len) = Arena::anonymous(bytes)?.into_parts();
        // SAFETY: the arena's own parts; ownership was given up, so it is never unmapped.
        let region: Region<'static> = unsafe { Region::from_parts(base, len) };
        Some(Self {
            region,
            // Three quarters: stacks are few, and events many.
            buffers: Buffers::create(region, len / 4 * 3)?,
            stacks: Stacks::create(region)?,
            types: Types::create(region)?,
        })
    }
}

/// The time of an event. As early as the processor likes: threads that hand an address on to
/// each other take longer for it.
#[inline]
pub(crate) fn ticks() -> u64 {
    clock::ticks()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::trace::Session;

    /// What a handler leaves that joins while the thread stores the gap to its next sample.
    #[test]
    fn gap_stored_when_a_handler_has_joined_does_not_hide_allocations() {
        static TRACER: Tracer = Tracer::new();
        let session = Session::start(&TRACER, 1 << 20, false, || ()).unwrap();
        let local = Local::new();
        assert!(TRACER.sees(&local));
        local.countdown.set(512 << 10);
        assert!(TRACER.sees(&local));
        assert!(local.countdown.get() < 0);
        drop(session);
        assert!(!TRACER.sees(&local) && !local.trace.traced.get());
    }

    #[test]
    fn events_that_come_in_the_midst_of_another_are_lost_and_told_of() {
        static TRACER: Tracer = Tracer::new();
        let session = Session::start(&TRACER, 1 << 20, false, || ()).unwrap();
        let local = Local::new();
        // In the midst of the thread's first event, when it has no buffer yet.
        assert!(local.trace.begin_writing());
        for address in 0..3 {
            TRACER.freed(&local, ticks(), address);
        }
        local.trace.end_writing();
        for address in [3, 4] {
            TRACER.freed(&local, ticks(), address);
        }
        let writer = session.writers().next().unwrap();
        let mut events = Vec::new();
        session.reader().read(writer, |_, event| events.push(event));
        let free = |address| Event::Free { address };
        assert_eq!(events, [free(3), Event::Lost { events: 3 }, free(4)]);
    }

    #[test]
    fn end_of_the_process_is_the_end_of_its_trace() {
        static TRACER: Tracer = Tracer::new();
        // No trace: nothing to wait for.
        TRACER.before_exit();
        let session = Session::start(&TRACER, 1 << 20, false, || ()).unwrap();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !session.is_asked_to_end() {
                    session.sleep(Duration::from_secs(3600));
                }
                session.is_written();
            });
            TRACER.before_exit();
        });
        assert!(session.is_asked_to_end());
        // As in a handler of `atexit`, when `_exit` comes behind it.
        TRACER.before_exit();
    }

    /// Neither the child of a `fork` nor one that shares its parent's memory.
    #[test]
    fn end_of_a_child_is_not_the_end_of_its_parents_trace() {
        static TRACER: Tracer = Tracer::new();
        extern "C" fn leave(_: *mut libc::c_void) -> libc::c_int {
            TRACER.before_exit();
            0
        }
        let session = Session::start(&TRACER, 1 << 20, false, || ()).unwrap();
        for shared in [0, libc::CLONE_VM | libc::CLONE_VFORK] {
            let mut stack = vec![0_u128; 4096];
            let top = stack.as_mut_ptr_range().end.cast();
            let flags = shared | libc::SIGCHLD;
            // SAFETY: the stack is the child's alone; where it shares our memory this thread
            // waits for its end (CLONE_VFORK), and `leave` neither allocates nor locks.
            let child = unsafe { libc::clone(leave, top, flags, std::ptr::null_mut()) };
            let mut status = -1;
            // SAFETY: waits for that child.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
            assert!(!session.is_asked_to_end(), "{shared:#x}");
        }
    }

    /// In a new namespace of process ids, where the child has its parent's number.
    #[test]
    fn end_of_a_child_of_the_same_number_is_not_the_end_of_its_parents_trace() {
        static TRACER: Tracer = Tracer::new();
        extern "C" fn leave(_: *mut libc::c_void) -> libc::c_int {
            // As it would be there.
            TRACER.taken_by.store(sys::process_id(), Ordering::Relaxed);
            TRACER.before_exit();
            0
        }
        let session = Session::start(&TRACER, 1 << 20, false, || ()).unwrap();
        session.is_written_here();
        let mut stack = vec![0_u128; 4096];
        let top = stack.as_mut_ptr_range().end.cast();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the stack is the child's alone, this thread waits for its end (CLONE_VFORK),
        // and `leave` neither allocates nor locks.
        let child = unsafe { libc::clone(leave, top, flags, std::ptr::null_mut()) };
        let mut status = -1;
        // SAFETY: waits for that child.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert!(!session.is_asked_to_end());
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn child_that_was_forked_while_its_parent_prepared_takes_a_trace_of_its_own() {
        static TRACER: Tracer = Tracer::new();
        // As far as the parent has come.
        TRACER.fork.arm_first();
        assert!(crate::fork::holds_in_child(|| {
            let session = Session::start(&TRACER, 1 << 20, false, || ());
            session.is_ok_and(|_session| TRACER.is_on())
        }));
        assert!(!TRACER.is_on());
    }

    /// The child must not record what nobody reads, should its own trace come to nothing.
    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn forks_child_that_prepares_for_a_trace_is_not_traced_yet() {
        static TRACER: Tracer = Tracer::new();
        let _session = Session::start(&TRACER, 1 << 20, false, || ()).unwrap();
        assert!(crate::fork::holds_in_child(|| {
            !TRACER.is_on() && TRACER.prepare(1 << 20) && !TRACER.is_on()
        }));
        assert!(TRACER.is_on());
    }
}
