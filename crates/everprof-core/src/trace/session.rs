//! Session: one trace from its beginning to its end, as its reader sees it.
//!
//! Context: cold. Invariant: one session at a time a process; it alone reads the buffers.

use std::fmt;
use std::time::Duration;

use super::buffers::{Buffers, Writer};
use super::stacks::Known;
use super::tracer::{Memory, Tracer, ticks};
use super::words::{Event, StackAt, TypeAt};
use crate::clock;
use crate::sync::Ordering;
use crate::sys;

/// A trace that is being taken, until dropped.
#[derive(Debug)]
pub struct Session<'t> {
    tracer: &'t Tracer,
    memory: Memory,
    /// This trace's number.
    trace: u32,
    /// Events of before are not this trace's.
    start_ticks: u64,
    start_unix_nanos: u64,
    /// By the kernel's clock.
    start_nanos: u64,
    /// Stacks that have a number.
    stacks: u32,
    /// Events of threads without a buffer that were told of.
    lost_told: u64,
}

/// Why there is no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// One is being taken.
    Busy,
    /// There is no memory.
    NoMemory,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "a trace is being taken",
            Self::NoMemory => "no memory",
        })
    }
}

impl std::error::Error for StartError {}

impl<'t> Session<'t> {
    /// Begins a trace, in at most `memory_bytes` of memory unless an earlier one has made
    /// it. With `marks`, objects may be marked. `before` is called when nothing is in the way
    /// any more, and nothing recorded yet.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(
        tracer: &'t Tracer,
        memory_bytes: usize,
        marks: bool,
        before: impl FnOnce(),
    ) -> Result<Self, StartError> {
        let own = sys::process_id();
        // Relaxed: compared only. Another process's number is an ancestor's.
        let seen = tracer.taken_by.load(Ordering::Relaxed);
        if seen == own {
            return Err(StartError::Busy);
        }
        // Acquire: pairs with the Release in `drop`; the buffers are left.
        tracer
            .taken_by
            .compare_exchange(seen, own, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| StartError::Busy)?;
        // Before the first event: which clock is gone by must not change during a trace.
        clock::begin();
        let memory = tracer
            .prepare(memory_bytes)
            .then(|| tracer.memory().copied())
            .flatten()
            .filter(|_| !marks || tracer.marks().prepare());
        let Some(memory) = memory else {
            tracer.taken_by.store(0, Ordering::Release);
            return Err(StartError::NoMemory);
        };
        // Its writer is this process's, and so to be told anew: an ancestor's may be here.
        // Relaxed, here and below: figures of ours.
        tracer.written_by.store(0, Ordering::Relaxed);
        let trace = tracer.traces.fetch_add(1, Ordering::Relaxed) + 1;
        let session = Self {
            tracer,
            memory,
            trace,
            start_ticks: ticks(),
            start_unix_nanos: sys::unix_nanos(),
            start_nanos: sys::monotonic_nanos(),
            stacks: 0,
            lost_told: tracer.lost.load(Ordering::Relaxed),
        };
        // What an earlier trace has left behind.
        for writer in memory.buffers.writers() {
            memory.buffers.read(writer, |_, _| ());
        }
        memory.buffers.begin_trace(trace);
        before();
        // Release: publishes memory and marks, and what `before` did. Pairs with the Acquire in `is_on`.
        tracer.on.store(trace, Ordering::Release);
        Ok(session)
    }

    /// When it began, by the clock of its events.
    #[must_use]
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Now, by the same clock.
    #[must_use]
    pub fn now_ticks(&self) -> u64 {
        ticks()
    }

    /// How often that clock ticks in a second. `None`: that is not known yet, some 10 ms after
    /// the process has begun.
    #[must_use]
    pub fn ticks_per_second(&self) -> Option<u64> {
        Some(clock::conversion()?.ticks_a_second())
    }

    /// The same, as it was since the trace began: to some thousandths, after some milliseconds.
    #[must_use]
    pub fn ticks_per_second_about(&self) -> u64 {
        let ticks = ticks().saturating_sub(self.start_ticks);
        let nanos = sys::monotonic_nanos().saturating_sub(self.start_nanos);
        let rate = u128::from(ticks) * 1_000_000_000 / u128::from(nanos.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX).max(1)
    }

    /// When it began, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn start_unix_nanos(&self) -> u64 {
        self.start_unix_nanos
    }

    /// Whether events are still recorded: not, when there was no memory to go on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        // Relaxed: nothing is read because of it.
        self.tracer.on.load(Ordering::Relaxed) == self.trace
    }

    /// No event begins to be recorded from here on. False: none did before, see
    /// [`Session::is_on`].
    pub fn end(&self) -> bool {
        // Relaxed: events under way stand in their buffers, read or not.
        self.tracer
            .on
            .compare_exchange(self.trace, 0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Whoever wants this trace to end says so here, from any thread.
    #[must_use]
    pub fn asker(&self) -> Asker<'t> {
        Asker {
            tracer: self.tracer,
            trace: self.trace,
        }
    }

    /// Whether somebody wants it to end, the end of the process maybe.
    #[must_use]
    pub fn is_asked_to_end(&self) -> bool {
        self.tracer.ending.is_asked(self.trace)
    }

    /// Sleeps until somebody does, for so long at most.
    pub fn sleep(&self, most: Duration) {
        self.tracer.ending.sleep(self.trace, most);
    }

    /// To be called when nothing more of it will be written: whoever waits for that goes on.
    pub fn is_written(&self) {
        self.tracer.ending.written(self.trace);
    }

    /// To be called first by the thread that will write it: only its process waits for the end.
    pub fn is_written_here(&self) {
        // Relaxed: a number.
        self.tracer
            .written_by
            .store(sys::thread_id(), Ordering::Relaxed);
    }

    /// The threads that have recorded something, or may.
    pub fn writers(&self) -> impl Iterator<Item = Writer> + use<> {
        self.memory.buffers.writers()
    }

    /// What reads the buffers, and nothing else of the session.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            buffers: self.memory.buffers,
            start_ticks: self.start_ticks,
        }
    }

    /// Events of the thread that had no room, and of which no [`Event::Lost`] has told.
    #[must_use]
    pub fn lost(&self, writer: Writer) -> u64 {
        self.memory.buffers.lost(writer)
    }

    /// Events of threads that have no buffer, since the last time.
    pub fn lost_without_buffer(&mut self) -> u64 {
        // Relaxed: a figure.
        let all = self.tracer.lost.load(Ordering::Relaxed);
        all.wrapping_sub(std::mem::replace(&mut self.lost_told, all))
    }

    /// Gives the buffer of a thread back that is no more. To be asked after its last events
    /// were read, and then once more. True: it is gone.
    pub fn give_back_if_gone(&self, writer: Writer, visit: impl FnMut(u64, Event)) -> bool {
        if sys::thread_is_alive(writer.tid) {
            return false;
        }
        // What it wrote last, between the reader's look and its end.
        self.reader().read(writer, visit);
        self.memory.buffers.give_back(writer);
        true
    }

    /// Where a stack stands that the reader has got elsewhere.
    #[must_use]
    pub fn stack_at(&self, stack: &[u64]) -> StackAt {
        self.memory.stacks.at(stack)
    }

    /// The name of a type.
    #[must_use]
    pub fn type_name(&self, at: TypeAt) -> Option<&'static str> {
        self.memory.types.name(at.0)
    }

    /// The number of a stack in this trace; with its addresses, the first time.
    pub fn number(&mut self, stack: StackAt) -> Option<Numbered<'static>> {
        let next = self.stacks + 1;
        Some(match self.memory.stacks.number(stack, self.trace, next)? {
            Known::Old(number) => Numbered { number, new: None },
            Known::New(addresses) => {
                self.stacks = next;
                Numbered {
                    number: next,
                    new: Some(addresses),
                }
            }
        })
    }
}

/// Asks for the end of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'t> {
    tracer: &'t Tracer,
    trace: u32,
}

impl Asker<'_> {
    /// Asks for it; if it is over, nothing comes of it.
    pub fn ask(self) {
        self.tracer.ending.ask(self.trace);
    }
}

/// Reads what threads have recorded.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    buffers: Buffers<'static>,
    start_ticks: u64,
}

impl Reader {
    /// Calls `visit` with each event that `writer` has recorded since the last time, and its
    /// ticks. By one thread at a time.
    pub fn read(self, writer: Writer, mut visit: impl FnMut(u64, Event)) {
        let since = self.start_ticks;
        self.buffers.read(writer, |ticks, event| {
            // An earlier trace's, written when that had ended.
            if ticks >= since {
                visit(ticks, event);
            }
        });
    }
}

/// A stack's number, counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Numbered<'a> {
    /// The same, whenever the stack comes up in this trace.
    pub number: u32,
    /// Its addresses, leaf first, when it comes up for the first time.
    pub new: Option<&'a [u64]>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let _ = self.end();
        self.is_written();
        // Relaxed: published below.
        self.tracer.written_by.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `start`.
        self.tracer.taken_by.store(0, Ordering::Release);
    }
}
