//! Session: the time in which a CPU profile is taken.
//!
//! Context: cold; allocates, so whoever has one leaves its thread out of the heap's
//! profile. Invariant: every timer that was made is deleted when the session ends,
//! and the arena is unmapped only after the gate is empty.
//!
//! A fork's child has no timers, and no part in its parent's session: one that is
//! dropped there lets go of the copy, and starting is as in any process.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::buckets::Buckets;
use super::roster::Roster;
use super::snapshot::Snapshot;
use super::timer::{self, Refused, Timer};
use super::{MOST_HZ, Profiler, weight};
use crate::arena::Arena;
use crate::lost::Lost;
use crate::signal::{self, Ours};
use crate::sync::Ordering;
use crate::{own_threads, sys};

/// Samples are taken while there is one. There is one at a time in a process.
#[derive(Debug)]
pub struct Session<'p> {
    profiler: &'p Profiler,
    arena: Option<Arena>,
    roster: Roster,
    /// Thread and timer, one for each thread seen alive.
    covered: BTreeSet<(u32, Timer)>,
    /// Whose it is.
    process_id: u32,
    period_nanos: u64,
    began_unix_nanos: u64,
    began_nanos: u64,
    /// CPU time of the program's own threads when it began.
    began_cpu_nanos: u64,
    /// Threads that got a timer, or were refused one.
    threads: u64,
    refused: u64,
    /// Not for want of room.
    denied: bool,
    ended: bool,
}

/// Why no session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// There is one already.
    InUse,
    /// Fewer than one sample a second, or more than [`MOST_HZ`].
    Period,
    /// No memory for another table.
    NoMemory,
    /// The user has as many timers as `RLIMIT_SIGPENDING` allows.
    NoTimers,
    /// The program has put a handler for SIGPROF in the place of ours, and not called it.
    SignalTaken,
    /// There are no such timers here, or no `/proc`.
    Unsupported,
}

/// How long a thread may run at the most before it is seen: whoever has a session calls
/// [`Session::cover`] as often. Half of the 10 ms that are promised, as sleeps are late.
pub const COVER_EVERY: Duration = Duration::from_millis(5);

/// Some 60,000 stacks of depth 32; mapped, and touched as they come.
const ARENA_BYTES: usize = 32 << 20;

/// How long the end waits for handlers. They take some microseconds; a thread that is
/// not scheduled in between, or held by a debugger, takes longer.
const PATIENCE_NANOS: u64 = 1_000_000_000;

impl<'p> Session<'p> {
    /// Begins to take `hz` samples in a second of each thread's CPU time. `handler` must
    /// call [`Profiler::on_signal`] of this very profiler.
    ///
    /// The handler of SIGPROF stays when the session has ended: a signal that is late
    /// must not end the program.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(profiler: &'p Profiler, handler: Ours, hz: u32) -> Result<Self, StartError> {
        if !(1..=MOST_HZ).contains(&hz) {
            return Err(StartError::Period);
        }
        let process_id = claim(profiler)?;
        let started = Self::begin(profiler, handler, 1_000_000_000 / u64::from(hz), process_id);
        if started.is_err() {
            // Release: pairs with the Acquire in `claim`.
            profiler.holder.store(0, Ordering::Release);
        }
        started
    }

    fn begin(
        profiler: &'p Profiler,
        handler: Ours,
        period_nanos: u64,
        process_id: u32,
    ) -> Result<Self, StartError> {
        let arena = Arena::anonymous(ARENA_BYTES).ok_or(StartError::NoMemory)?;
        Buckets::create(arena.region()).ok_or(StartError::NoMemory)?;
        let roster = Roster::open().map_err(|_| StartError::Unsupported)?;
        if !signal::install(timer::SIGNAL, handler) {
            return Err(if signal::is_default(timer::SIGNAL) {
                StartError::Unsupported
            } else {
                StartError::SignalTaken
            });
        }
        let region = arena.region();
        // Relaxed, to the next comment: published by the gate.
        profiler
            .base
            .store(region.base().as_ptr(), Ordering::Relaxed);
        profiler
            .len
            .store(region.capacity_bytes(), Ordering::Relaxed);
        profiler.period_nanos.store(period_nanos, Ordering::Relaxed);
        profiler
            .tick_nanos
            .store(sys::tick_nanos(), Ordering::Relaxed);
        profiler.left_out.store(0, Ordering::Relaxed);
        // Never 0, which a thread that has seen none remembers.
        let last = profiler.session.load(Ordering::Relaxed);
        profiler
            .session
            .store(last.wrapping_add(1).max(1), Ordering::Relaxed);
        let mut session = Self {
            profiler,
            arena: Some(arena),
            roster,
            covered: BTreeSet::new(),
            process_id,
            period_nanos,
            began_unix_nanos: sys::unix_nanos(),
            began_nanos: sys::monotonic_nanos(),
            began_cpu_nanos: program_cpu_nanos(),
            threads: 0,
            refused: 0,
            denied: false,
            ended: false,
        };
        profiler.gate.open();
        session.cover();
        // What has begun ends as the session is dropped.
        if session.denied {
            return Err(StartError::Unsupported);
        }
        if session.covered.is_empty() && session.refused != 0 {
            return Err(StartError::NoTimers);
        }
        Ok(session)
    }

    /// Gives threads that have begun a timer, and takes that of those that have ended
    /// back. To be called every [`COVER_EVERY`].
    pub fn cover(&mut self) {
        if self.process_id != sys::process_id() {
            return;
        }
        let Some(threads) = self.roster.list() else {
            return;
        };
        // After the list is read, so that of who is on it, most that have made themselves
        // a timer are known. One too many does no harm: its thread switches it off.
        self.take_arrivals();
        self.covered.retain(|(_, timer)| {
            let is_alive = timer.is_armed();
            if !is_alive {
                timer.delete();
            }
            is_alive
        });
        let value = self.profiler.value();
        for tid in threads {
            let timers = (tid, Timer::from_raw(0))..=(tid, Timer::from_raw(u32::MAX));
            if self.covered.range(timers).next().is_some() || own_threads::contains(tid) {
                continue;
            }
            match Timer::begin(tid, value, self.period_nanos) {
                Ok(timer) => self.keep(tid, timer),
                Err(Refused::Gone) => {}
                Err(Refused::Full) => self.refused += 1,
                Err(Refused::Denied) => {
                    self.refused += 1;
                    self.denied = true;
                }
            }
        }
    }

    /// Ends the session: what it has counted.
    #[must_use]
    pub fn stop(mut self) -> Snapshot {
        let torn = self.end();
        let mut snapshot = Snapshot::new(self.arena.take(), self.period_nanos);
        snapshot.torn = torn;
        snapshot.began_unix_nanos = self.began_unix_nanos;
        snapshot.duration_nanos = sys::monotonic_nanos().saturating_sub(self.began_nanos);
        snapshot.threads_refused = self.refused;
        snapshot
    }

    fn keep(&mut self, tid: u32, timer: Timer) {
        self.threads += 1;
        self.covered.insert((tid, timer));
    }

    fn take_arrivals(&mut self) {
        let profiler = self.profiler;
        profiler.arrivals.take(|tid, timer| self.keep(tid, timer));
    }

    /// Timers away, gate closed and, if nobody is inside, what is missing counted. True:
    /// somebody is inside, for ever as far as can be told.
    fn end(&mut self) -> bool {
        if std::mem::replace(&mut self.ended, true) {
            return false;
        }
        if self.process_id != sys::process_id() {
            // The parent's timers are not here, and what it counted is not this one's.
            if take_over(self.profiler, self.process_id, sys::process_id()) {
                // Release: pairs with the Acquire in `claim`.
                self.profiler.holder.store(0, Ordering::Release);
            }
            self.arena = None;
            return false;
        }
        // Modulo 2⁶⁴, and a clock may be behind the other by a little.
        let cpu_nanos = program_cpu_nanos().wrapping_sub(self.began_cpu_nanos);
        let cpu_nanos = u64::try_from(cpu_nanos.cast_signed()).unwrap_or(0);
        self.delete_timers();
        self.profiler.gate.close();
        let deadline = sys::monotonic_nanos().saturating_add(PATIENCE_NANOS);
        let mut torn = false;
        while !self.profiler.gate.is_empty() && !torn {
            sys::pause_briefly();
            torn = sys::monotonic_nanos() > deadline;
        }
        // Threads that were inside have made theirs meanwhile.
        self.take_arrivals();
        self.delete_timers();
        if let Some(buckets) = self
            .arena
            .as_ref()
            .and_then(|arena| Buckets::open(arena.region()))
        {
            self.count_unseen(&buckets, cpu_nanos);
        }
        // Release: pairs with the Acquire in `claim`.
        self.profiler.holder.store(0, Ordering::Release);
        torn
    }

    fn delete_timers(&mut self) {
        while let Some((_, timer)) = self.covered.pop_first() {
            timer.delete();
        }
    }

    /// Counts the CPU time that no sample stands for, if it is more than chance makes.
    fn count_unseen(&self, buckets: &Buckets<'_>, cpu_nanos: u64) {
        // Relaxed: nobody is inside, or never mind.
        let mut samples = self.profiler.left_out.load(Ordering::Relaxed);
        buckets.for_each(|_, _, weight| samples = samples.saturating_add(weight));
        let missing = cpu_nanos.saturating_sub(samples.saturating_mul(self.period_nanos));
        let tick = self.profiler.tick_nanos.load(Ordering::Relaxed);
        let step_nanos = self.period_nanos.max(tick);
        if missing > 2 * weight::deviation(step_nanos, self.threads, cpu_nanos) {
            buckets.add_lost(Lost::CpuUnseen, missing / self.period_nanos);
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.end() {
            // Somebody may still write there.
            std::mem::forget(self.arena.take());
        }
    }
}

/// Makes this process the one that has a session.
fn claim(profiler: &Profiler) -> Result<u32, StartError> {
    let own = sys::process_id();
    // Acquire: pairs with the Release of the session before; it is done.
    let seen = profiler.holder.load(Ordering::Acquire);
    if seen == own || seen == own | TAKING_OVER {
        return Err(StartError::InUse);
    }
    if seen != 0 {
        // A fork's child, whose parent has one: nobody else is here to leave.
        if !take_over(profiler, seen, own) {
            return Err(StartError::InUse);
        }
        // Release: pairs with the Acquire in `Profiler::arrive`; the gate is closed.
        profiler.holder.store(own, Ordering::Release);
        return Ok(own);
    }
    profiler
        .holder
        .compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed)
        .map_err(|_| StartError::InUse)?;
    Ok(own)
}

/// Resets what a fork's child has of its parent's session. False: another thread has. No
/// thread is inside of the gate, as none enters it while the holder is another process.
fn take_over(profiler: &Profiler, parent: u32, own: u32) -> bool {
    // Acquire: what the other thread's session left is seen. Relaxed on failure: not ours.
    let taken = profiler.holder.compare_exchange(
        parent,
        own | TAKING_OVER,
        Ordering::Acquire,
        Ordering::Relaxed,
    );
    if taken.is_ok() {
        profiler.gate.reset();
        profiler.arrivals.clear();
    }
    taken.is_ok()
}

/// The holder's process resets what its parent left. Process ids have 22 bits.
const TAKING_OVER: u32 = 1 << 31;

/// CPU time of the process without that of everprof's own threads, from some beginning: in
/// a fork's child the process's begins at 0, and that of own threads where its parent's was.
fn program_cpu_nanos() -> u64 {
    sys::process_cpu_nanos().wrapping_sub(own_threads::cpu_nanos())
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "cpu profiling already in use",
            Self::Period => "expected 1 to 1000 samples in a second of CPU time",
            Self::NoMemory => "no memory for the table of stacks",
            Self::SignalTaken => {
                "another handler for SIGPROF has been put in the place of everprof's, by another \
                 profiler perhaps"
            }
            Self::NoTimers => {
                "no timer can be made: there are as many as RLIMIT_SIGPENDING allows (`ulimit -i`)"
            }
            Self::Unsupported => {
                "CPU time of threads cannot be sampled here: expected Linux, with /proc, on \
                 x86_64 or aarch64"
            }
        })
    }
}

impl Error for StartError {}
