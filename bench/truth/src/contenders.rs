//! Five threads that take one lock at the same time and hold it for 200 to 1000 ms, once
//! each: what the mutex profile charges each of them with, and what it should.
//!
//! Source: golang/go#73760, with fifths of its times. Who waits while nobody holds the lock, as
//! its next holder is not awake yet, waits for that one: the turn of a holder lasts from the
//! release before it to its own.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::lock::Lock;
use crate::taken;

const UNIT: Duration = Duration::from_millis(200);

/// What a clock around the lock saw.
struct Hold {
    wait: [Instant; 2],
    released: Instant,
}

pub fn print<L: Lock>() {
    let lock = L::default();
    let together = Barrier::new(5);
    let holds: Vec<Hold> = thread::scope(|scope| {
        let threads: Vec<_> = holders::<L>()
            .into_iter()
            .map(|(_, hold)| {
                let (lock, together) = (&lock, &together);
                scope.spawn(move || {
                    together.wait();
                    hold(lock)
                })
            })
            .collect();
        let holds = threads.into_iter().map(|thread| thread.join());
        holds.map(|hold| hold.expect("nobody panics")).collect()
    });
    let profile = taken("mutex");
    for ((name, _), hold) in holders::<L>().iter().zip(&holds) {
        let names = |sample: &everprof_profile::Sample<'_>| {
            let mut lines = sample.stack().flat_map(|at| profile.location(at).lines);
            lines.any(|line| profile.function(line.function).name.contains(name))
        };
        let charged: i64 = profile
            .samples()
            .filter(names)
            .map(|sample| sample.values()[1])
            .sum();
        println!(
            "{name} {} {}",
            truth(&holds, hold).as_millis(),
            charged / 1_000_000
        );
    }
}

/// What all have waited during this one's turn.
fn truth(holds: &[Hold], holder: &Hold) -> Duration {
    let until = holder.released;
    let before = holds
        .iter()
        .map(|hold| hold.released)
        .filter(|&released| released < until);
    let since = before.max();
    let during = |wait: [Instant; 2]| {
        let begin = since.map_or(wait[0], |since| since.max(wait[0]));
        wait[1].min(until).saturating_duration_since(begin)
    };
    holds.iter().map(|hold| during(hold.wait)).sum()
}

/// A holder: its function's name, and that function, which returns nothing before it has looked
/// at the hold, or its frame would be gone while it unlocks.
type Holder<L> = (&'static str, fn(&L) -> Hold);

fn holders<L: Lock>() -> [Holder<L>; 5] {
    [
        ("holds_for_one", holds_for_one),
        ("holds_for_two", holds_for_two),
        ("holds_for_three", holds_for_three),
        ("holds_for_four", holds_for_four),
        ("holds_for_five", holds_for_five),
    ]
}

#[inline(never)]
fn holds_for_one<L: Lock>(lock: &L) -> Hold {
    black_box(held(lock, 1))
}

#[inline(never)]
fn holds_for_two<L: Lock>(lock: &L) -> Hold {
    black_box(held(lock, 2))
}

#[inline(never)]
fn holds_for_three<L: Lock>(lock: &L) -> Hold {
    black_box(held(lock, 3))
}

#[inline(never)]
fn holds_for_four<L: Lock>(lock: &L) -> Hold {
    black_box(held(lock, 4))
}

#[inline(never)]
fn holds_for_five<L: Lock>(lock: &L) -> Hold {
    black_box(held(lock, 5))
}

fn held<L: Lock>(lock: &L, units: u32) -> Hold {
    let (held, wait) = lock.lock_timed();
    thread::sleep(units * UNIT);
    let released = Instant::now();
    drop(held);
    Hold {
        wait: wait.unwrap_or([released; 2]),
        released,
    }
}
