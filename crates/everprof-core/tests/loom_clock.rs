//! Model of the clock: whoever saw a reading reads no earlier time, while another puts the
//! line in force, and while another takes it out.
#![cfg(everprof_loom)]

use everprof_core::clock::{Clock, Source};
use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

/// A time that goes on by each look at it, far enough for a pair to prove the line.
struct Machine {
    nanos: AtomicU64,
    /// By how much the counter is ahead of it.
    ahead: AtomicU64,
}

const STEP_NANOS: u64 = 4;

impl Machine {
    fn new() -> Self {
        Self {
            nanos: AtomicU64::new(1_000_000_000),
            ahead: AtomicU64::new(0),
        }
    }

    fn pass(&self, nanos: u64) -> u64 {
        // AcqRel: time is what all agree on.
        self.nanos.fetch_add(nanos, Ordering::AcqRel)
    }
}

impl Source for Machine {
    fn ticks(&self) -> u64 {
        let ahead = self.ahead.load(Ordering::Relaxed);
        self.pass(STEP_NANOS) + ahead
    }

    fn ticks_in_order(&self) -> u64 {
        self.ticks()
    }

    fn nanos(&self) -> u64 {
        self.pass(STEP_NANOS)
    }
}

struct Shared {
    machine: Machine,
    clock: Clock,
    seen: AtomicU64,
}

impl Shared {
    fn new() -> Self {
        let shared = Self {
            machine: Machine::new(),
            clock: Clock::new(),
            seen: AtomicU64::new(0),
        };
        shared.clock.begin(&shared.machine, || true);
        shared.machine.pass(1_000_000_000);
        shared
    }

    fn read(&self) {
        let seen = self.seen.load(Ordering::Acquire);
        let now = self.clock.now_nanos(&self.machine);
        assert!(now >= seen, "{now} after {seen}");
        self.seen.fetch_max(now, Ordering::AcqRel);
    }
}

/// Forced switches are bounded, so that it ends in seconds.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

#[test]
fn nobody_goes_back_while_the_line_is_put_in_force() {
    model(|| {
        let shared = Arc::new(Shared::new());
        let other = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            other.read();
            other.read();
        });
        shared.read();
        reader.join().expect("no panic");
        shared.read();
        assert!(shared.clock.is_counting());
    });
}

#[test]
fn nobody_goes_back_while_two_find_the_counter_wrong() {
    model(|| {
        let shared = Arc::new(Shared::new());
        shared.read();
        assert!(shared.clock.is_counting());
        shared.machine.pass(100_000_000);
        shared.machine.ahead.store(50_000_000, Ordering::Relaxed);
        shared.read();
        let lookers = [(); 2].map(|()| {
            let other = Arc::clone(&shared);
            thread::spawn(move || other.clock.look(&other.machine))
        });
        shared.read();
        for looker in lookers {
            looker.join().expect("no panic");
        }
        assert!(!shared.clock.is_counting());
        shared.read();
    });
}

/// The looker stands before the reader, so that it is through before the reader begins: a forced
/// switch in the middle of the reading, as above, never comes to that.
#[test]
fn nobody_goes_back_who_reads_when_another_has_found_the_counter_wrong() {
    model(|| {
        let shared = Arc::new(Shared::new());
        shared.read();
        shared.machine.pass(100_000_000);
        shared.machine.ahead.store(50_000_000, Ordering::Relaxed);
        shared.read();
        let [looker, reader] = [(); 2].map(|()| Arc::clone(&shared));
        let looker = thread::spawn(move || looker.clock.look(&looker.machine));
        let reader = thread::spawn(move || reader.read());
        looker.join().expect("no panic");
        reader.join().expect("no panic");
        assert!(!shared.clock.is_counting());
        shared.read();
    });
}
