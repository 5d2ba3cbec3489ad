//! CPU time: which code the threads of the process run.
//!
//! Context: signal in [`Profiler::on_signal`], sampled in [`Profiler::thread_began`],
//! cold otherwise ([`Session`]).
//! Invariant: there is a timer only while there is a session. What a handler writes to
//! stays mapped until the gate says that no handler is inside.
//!
//! ```text
//! Session::start ─→ arena, table → gate opens → a timer for every thread
//!    cover ─→ roster: who is new, who is gone → timers made, timers deleted
//! SIGPROF ─→ on_signal ─→ ours? inside? → weight → stack → bucket
//! Session::stop ─→ timers deleted → gate closes → nobody inside → Snapshot
//! ```
//!
//! **Which timers.** Each thread has one, on its own CPU clock. A single one for the
//! process (`ITIMER_PROF`) is served one signal at a time, to whichever thread comes
//! first: with several threads running, some are seen too seldom, and the total is short
//! (golang/go issue 35057).
//!
//! **What an expiry weighs.** The kernel looks at CPU timers when its clock ticks and
//! the thread is running, every 1 to 10 ms, and not between: an expiry is noticed late,
//! and never if the thread ends before. Were the first one put at a random time of the
//! thread's life, one of 2 ms under ticks of 4 ms would be seen a quarter as often as it
//! should. So the *tick* is taken as what falls at random into a thread's time, and each
//! one stands for a whole tick:
//!
//! | the signal | stands for | and then |
//! |---|---|---|
//! | a thread's first, due at once | tick ÷ period expiries, rounded at random | the timer is set to a random phase |
//! | any later | one expiry, and those overrun | goes on by itself |
//!
//! A thread that ran through k ticks so gets k × tick ÷ period samples in the mean,
//! however short it is (`weight`).
//!
//! **What is missing.** The process's own clock tells how much there was. At the end
//! what is more than samples and chance can explain is counted under
//! `everprof::lost::cpu_unseen`: threads that ended before anybody saw them, or that
//! block the signal.
//!
//! **Why SIGPROF.** It is what the kernel's own profiling timer sends: programs that
//! choose signals leave it to profilers, and debuggers pass it on unseen.
//!
//! Source: timers for each thread, as Go's runtime has on Linux since 1.18
//! (runtime/os_linux.go); the weight by the tick is ours.

use std::ptr;

use crate::arena::Region;
use crate::gate::Gate;
use crate::labels;
use crate::local::{self, Local};
use crate::lost::Lost;
use crate::sampler;
use crate::signal::Arrival;
use crate::stack::{self, MAX_DEPTH, Registers};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sys;
use arrivals::Arrivals;
use buckets::Buckets;
use timer::Timer;

mod arrivals;
mod buckets;
mod roster;
mod session;
mod snapshot;
mod weight;

#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(miri)
    )),
    path = "cpu/timer_noop.rs"
)]
mod timer;

pub use session::{COVER_EVERY, Session, StartError};
pub use snapshot::{Bucket, Snapshot};

/// Samples in a second of a thread's CPU time unless asked for otherwise: Go's figure.
pub const DEFAULT_HZ: u32 = 100;

/// The most. Kernels tick 100 to 1,000 times a second, and see no timer between.
pub const MOST_HZ: u32 = 1000;

/// What handlers and sessions share. All zero is its first state: no session.
#[derive(Debug)]
pub struct Profiler {
    /// Open while a session takes samples. Handlers, and threads that begin, go inside
    /// before they look at anything below.
    gate: Gate,
    /// The process that has a session; 0: none. Claimed and given back by sessions.
    holder: AtomicU32,
    /// Number of the last session. This, and all to the next comment, is written by the
    /// holder and published by the gate's opening.
    session: AtomicU32,
    base: AtomicPtr<u8>,
    len: AtomicUsize,
    period_nanos: AtomicU64,
    tick_nanos: AtomicU64,
    /// Expiries that fell on what everprof did itself. Handlers add, the session reads.
    left_out: AtomicU64,
    /// Timers that threads made for themselves.
    arrivals: Arrivals,
}

impl Profiler {
    /// A profiler with no session.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "4 KiB: to be placed, not passed"
    )]
    pub const fn new() -> Self {
        Self {
            gate: Gate::new(),
            holder: AtomicU32::new(0),
            session: AtomicU32::new(0),
            base: AtomicPtr::new(ptr::null_mut()),
            len: AtomicUsize::new(0),
            period_nanos: AtomicU64::new(0),
            tick_nanos: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            arrivals: Arrivals::new(),
        }
    }

    /// What SIGPROF means here; false if it is not ours. To be called in its handler.
    pub fn on_signal(&self, arrival: &Arrival<'_>) -> bool {
        if arrival.code() != timer::CODE || arrival.value() >> 32 != self.cookie() {
            return false;
        }
        // A program's handler that came over this one might leave it by longjmp, and the
        // gate would wait for it for ever.
        timer::hold_other_signals();
        // A late signal, of a session that has ended, is ours and nothing else.
        if let Some(_inside) = self.gate.enter()
            // Relaxed, here and below: published by the gate, which this is inside.
            && arrival.value() as u32 == self.session.load(Ordering::Relaxed)
        {
            local::with(|local| self.record(local, arrival));
        }
        true
    }

    /// To be called by a thread as the first thing it does: is a profile being taken, it
    /// is in it from here on. Without, it is from when the session sees it.
    #[inline]
    pub fn thread_began(&self) {
        if self.gate.is_open() {
            self.arrive();
        }
    }

    #[cold]
    fn arrive(&self) {
        // A fork's child has a copy of its parent's gate, and no session. Asked first:
        // whoever is inside of that copy as it is reset would leave a gate that it is not
        // counted in. Acquire: pairs with the Release of whoever has reset it.
        if self.holder.load(Ordering::Acquire) != sys::process_id() {
            return;
        }
        let Some(_inside) = self.gate.enter() else {
            return;
        };
        let tid = sys::thread_id();
        if let Ok(timer) = Timer::begin(tid, self.value(), self.period_nanos())
            && !self.arrivals.push(tid, timer)
        {
            // Nobody would delete it. The session will see this thread by itself.
            timer.delete();
        }
    }

    fn record(&self, local: &Local, arrival: &Arrival<'_>) {
        let Some(weight) = self.weigh(local, arrival) else {
            return;
        };
        if local.excluded.get() {
            // Relaxed: a sum, read when nobody is inside.
            self.left_out.fetch_add(weight, Ordering::Relaxed);
            return;
        }
        let Some(buckets) = self.region().and_then(Buckets::open) else {
            return;
        };
        let here = Registers::here().sp;
        let signal_stack = arrival.signal_stack();
        let shallow = stack::depth_limit() <= stack::DEFAULT_DEPTH;
        let needed = if shallow { ROOM_BYTES } else { DEEP_ROOM_BYTES };
        if signal_stack.contains(&here) && here - signal_stack.start < needed {
            buckets.add_lost(Lost::NoStack, weight);
            return;
        }
        if shallow {
            add::<{ stack::DEFAULT_DEPTH }>(&buckets, local, &arrival.registers(), weight);
        } else {
            add::<MAX_DEPTH>(&buckets, local, &arrival.registers(), weight);
        }
    }

    /// How many expiries the signal stands for; none if it stands for no sample.
    fn weigh(&self, local: &Local, arrival: &Arrival<'_>) -> Option<u64> {
        let timer = Timer::from_raw(arrival.sender());
        let mine = (arrival.value() << 32) | u64::from(arrival.sender());
        let known = local.cpu_timer.get();
        if known == mine {
            return Some(1 + u64::from(arrival.overruns()));
        }
        if known >> 32 == mine >> 32 {
            // The thread made itself a timer and the session one more: one is enough.
            timer.disarm();
            return None;
        }
        local.cpu_timer.set(mine);
        let period = self.period_nanos();
        timer.arm(weight::phase(period, sampler::random(local)), period);
        // Relaxed: as in `on_signal`.
        let tick = self.tick_nanos.load(Ordering::Relaxed);
        match weight::of_first(tick, period, sampler::random(local)) {
            0 => None,
            weight => Some(weight),
        }
    }

    /// What a timer's signal carries: that it is ours, and of which session.
    fn value(&self) -> u64 {
        // Relaxed, here and below: asked inside the gate, whose opening publishes them.
        self.cookie() << 32 | u64::from(self.session.load(Ordering::Relaxed))
    }

    /// What tells our timers from the program's own, and from another everprof's in the same
    /// process: that of `everprof run`, or of a library. 32 bits.
    fn cookie(&self) -> u64 {
        // 2⁶⁴ divided by the golden ratio: all of the address goes into the upper half.
        let place = (ptr::from_ref(self).addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        COOKIE ^ place >> 32
    }

    fn period_nanos(&self) -> u64 {
        self.period_nanos.load(Ordering::Relaxed)
    }

    fn region(&self) -> Option<Region<'_>> {
        let base = ptr::NonNull::new(self.base.load(Ordering::Relaxed))?;
        let len = self.len.load(Ordering::Relaxed);
        // SAFETY: a session stored base and length of its arena before the gate opened,
        // and keeps it mapped until the gate is empty. This is called inside only.
        Some(unsafe { Region::from_parts(base, len) })
    }
}

/// Apart from its caller, so that only one of the two scratches is on the stack.
#[inline(never)]
fn add<const DEPTH: usize>(
    buckets: &Buckets<'_>,
    local: &Local,
    registers: &Registers,
    weight: u64,
) {
    let mut scratch = [0; DEPTH];
    // Nothing to skip: these registers are the interrupted code's, not the handler's.
    let depth = stack::capture(registers, &local.stack, &mut scratch, &(0..0)).depth;
    match scratch.get(..depth) {
        Some(stack) if depth > 0 => {
            let labels = labels::in_force(crate::global::store(), local);
            buckets.add(stack, labels, weight);
        }
        _ => buckets.add_lost(Lost::NoStack, weight),
    }
}

/// "evpf", see [`Profiler::cookie`].
const COOKIE: u64 = 0x6676_7065;

/// What a handler must find free on a signal stack of the program's, as its end is not
/// guarded. Measured 3.0 KiB at depth 128, and 13 without optimisation
/// (`tests/cpu_stack.rs`).
const ROOM_BYTES: u64 = if cfg!(debug_assertions) {
    24 << 10
} else {
    4 << 10
};
/// The same where the limit is deeper: the scratch is 8 KiB then.
const DEEP_ROOM_BYTES: u64 = ROOM_BYTES + (8 << 10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_profilers_know_their_own_timers() {
        let two = Box::new([Profiler::new(), Profiler::new()]);
        let [one, other] = &*two;
        assert_eq!(one.value() >> 32, one.cookie());
        assert_ne!(one.cookie(), other.cookie());
    }
}
