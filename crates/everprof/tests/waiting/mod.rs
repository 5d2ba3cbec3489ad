//! Threads that wait until others let them, and what the profiles then say of them.
//!
//! Each test waits in functions of its own names; what the profile says of stacks with such
//! a name is what that test did. Truth is a clock around the call, and the time for which
//! the waiter was known to be waiting: the profile's figure lies between the two,
//! however busy the machine is.

#![allow(dead_code)] // Each test binary uses its part.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use everprof_core::global;
use everprof_profile::{Profile, Sample, pprof};

/// For how long a waiter is kept, and by how much clocks may differ.
pub const KEPT: Duration = Duration::from_millis(20);
/// Words of recorders count 16 ns each, twice in a wait.
pub const GRAIN: Duration = Duration::from_micros(1);
/// Only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every wait of the process is recorded, from the first test on.
pub fn record_all() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        everprof::block::set_period(1);
        everprof::mutex::set_period(1);
    });
}

pub fn decoded(bytes: &[u8]) -> Profile {
    pprof::decode(bytes, &pprof::Limits::default()).unwrap()
}

pub fn taken(name: &str) -> Profile {
    let mut bytes = Vec::new();
    let profile = everprof::profile::lookup(name).unwrap();
    profile.write_to(&mut bytes).unwrap();
    decoded(&bytes)
}

/// Whether a function whose name ends like this is on the sample's stack.
pub fn is_in(profile: &Profile, sample: &Sample<'_>, function: &str) -> bool {
    let mut lines = sample.stack().flat_map(|at| profile.location(at).lines);
    lines.any(|line| {
        let name = profile.function(line.function).name;
        name.rsplit("::").next() == Some(function)
    })
}

/// Contentions and delay of the samples in `function`.
pub fn of_function(profile: &Profile, function: &str) -> (i64, Duration) {
    let samples = profile.samples();
    let ours = samples.filter(|sample| is_in(profile, sample, function));
    ours.fold((0, Duration::ZERO), |(count, delay), sample| {
        let nanos = u64::try_from(sample.values()[1]).unwrap();
        (
            count + sample.values()[0],
            delay + Duration::from_nanos(nanos),
        )
    })
}

/// What their labels `wait` say: each kind once.
pub fn kinds_of(profile: &Profile, function: &str) -> Vec<String> {
    let samples = profile.samples();
    let ours = samples.filter(|sample| is_in(profile, sample, function));
    let mut kinds: Vec<_> = ours
        .map(|sample| sample.string_label("wait").unwrap_or("").to_owned())
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

pub fn tid() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }.cast_unsigned()
}

pub fn is_blocked(tid: u32) -> bool {
    let mut found = false;
    global::waits().for_each_blocked(|blocked| found |= blocked.tid == tid);
    found
}

/// Until this thread waits in what everprof sees.
pub fn await_blocked(tid: &AtomicU32) {
    let begin = Instant::now();
    while !is_blocked(tid.load(Ordering::Relaxed)) {
        assert!(begin.elapsed() < PATIENCE, "no wait was seen");
        // No yield: it would be seen, too.
        std::hint::spin_loop();
    }
}

/// A thread that waits, and what is known of it from outside.
pub struct Waiter {
    tid: Arc<AtomicU32>,
    thread: thread::JoinHandle<Duration>,
}

impl Waiter {
    pub fn start(wait: impl FnOnce() + Send + 'static) -> Self {
        let tid = Arc::new(AtomicU32::new(0));
        let theirs = tid.clone();
        let thread = thread::spawn(move || {
            theirs.store(self::tid(), Ordering::Relaxed);
            let begin = Instant::now();
            wait();
            begin.elapsed()
        });
        Self { tid, thread }
    }

    pub fn await_blocked(&self) {
        await_blocked(&self.tid);
    }

    /// For how long it was seen to wait, until it did no more: less than it waited. Nothing,
    /// where this thread got no turn meanwhile.
    pub fn watch(&self) -> Duration {
        let (mut since, mut seen) = (None::<Instant>, Duration::ZERO);
        loop {
            // Before a look that finds it waiting, and since behind the first one.
            let now = Instant::now();
            match since {
                Some(since) if self.is_blocked() => seen = now - since,
                None if self.is_blocked() => since = Some(Instant::now()),
                Some(_) => return seen,
                None if self.thread.is_finished() => return seen,
                None => std::hint::spin_loop(),
            }
        }
    }

    fn is_blocked(&self) -> bool {
        is_blocked(self.tid.load(Ordering::Relaxed))
    }

    /// How long its call took.
    pub fn join(self) -> Duration {
        let took = self.thread.join().unwrap();
        let tid = self.tid.load(Ordering::Relaxed);
        assert!(!is_blocked(tid), "it waits no more, and is said to");
        took
    }
}

/// Runs `wait` until it has waited for [`KEPT`], then lets it go by `release`. How long it
/// waited, at least and at most.
pub fn kept(
    wait: impl FnOnce() + Send + 'static,
    release: impl FnOnce(),
) -> RangeInclusive<Duration> {
    record_all();
    let waiter = Waiter::start(wait);
    waiter.await_blocked();
    let begin = Instant::now();
    thread::sleep(KEPT);
    let least = begin.elapsed();
    release();
    least - GRAIN..=waiter.join() + GRAIN
}

/// That the block profile has `function` with what passes in `wait`, and this kind.
#[track_caller]
pub fn assert_seen(
    function: &str,
    kind: &str,
    wait: impl FnOnce() + Send + 'static,
    release: impl FnOnce(),
) {
    let passed = kept(wait, release);
    let profile = taken("block");
    let (contentions, delay) = of_function(&profile, function);
    assert!(contentions >= 1, "{function} is not in the profile");
    assert!(passed.contains(&delay), "{delay:?} of {passed:?}");
    let kinds = kinds_of(&profile, function);
    assert!(kinds.iter().any(|is| is == kind), "{kinds:?}");
    // What is built upon a mutex may have to wait for that, too.
    assert!(
        kinds.iter().all(|is| is == kind || is == "mutex"),
        "{kinds:?}"
    );
}
