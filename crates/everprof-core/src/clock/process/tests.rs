#![allow(clippy::unwrap_used)]
use super::super::line::Pair;
use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn trusts() -> bool {
    counter::is_steady() && sys::clock_source(&mut [0; 32]) == counter::CLOCK_SOURCE
}

/// A clock that goes by the counter, where that is to be had.
fn counting() -> Clock {
    let clock = Clock::new();
    clock.begin(&Machine, trusts);
    let patience = Instant::now();
    while trusts() && !clock.is_counting() && patience.elapsed() < Duration::from_secs(20) {
        clock.now_nanos(&Machine);
        std::thread::yield_now();
    }
    clock
}

/// Compares two clocks, not times: each reading of ours lies between two of the kernel's. A
/// false alarm needs the kernel to change its clock's rate by more than the bound just
/// then, and in all of three tries.
#[test]
fn interval_is_that_of_the_kernels_clock_within_the_bound() {
    let mut found = Vec::new();
    for _ in 0..3 {
        let clock = counting();
        let reading = || {
            let pairs = (0..50).map(|_| {
                let before = sys::monotonic_nanos();
                let ours = clock.now_nanos(&Machine);
                (before, ours, sys::monotonic_nanos())
            });
            pairs
                .min_by_key(|(before, _, after)| after - before)
                .unwrap()
        };
        let (first_before, first, first_after) = reading();
        std::thread::sleep(Duration::from_millis(150));
        let (last_before, last, last_after) = reading();
        let (least, most) = (last_before - first_after, last_after - first_before);
        let ours = last - first;
        // And ours is the kernel's time, too, some hundred nanoseconds ahead at most.
        let is_ahead = first >= first_before && first <= first_after + 10_000;
        if is_ahead && ours + 10 >= least && ours <= most + most / 100_000 + 10 {
            return;
        }
        found.push((least, ours, most, is_ahead));
    }
    panic!("least, ours, most: {found:?}");
}

/// Deterministic: no schedule may show a reading that is less than one seen before. (Which
/// schedules come is chance; what breaks the order is seen in most runs.)
#[test]
fn reading_is_not_less_than_one_that_was_seen_on_another_thread() {
    let clock = Clock::new();
    clock.begin(&Machine, trusts);
    let last = AtomicU64::new(0);
    let rounds = if cfg!(miri) { 200 } else { 100_000 };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let seen = last.load(Ordering::Acquire);
                    let now = clock.now_nanos(&Machine);
                    assert!(now >= seen, "{now} after {seen}");
                    last.fetch_max(now, Ordering::AcqRel);
                }
            });
        }
    });
}

#[test]
fn ticks_are_turned_into_the_nanoseconds_of_the_clock() {
    let clock = counting();
    let line = clock.conversion(&Machine).unwrap();
    let before = clock.now_nanos(&Machine);
    let ticks = clock.ticks(&Machine);
    let after = clock.now_nanos(&Machine);
    // Read as early as the processor likes: that is no more than a microsecond.
    assert!((before - 1_000..=after).contains(&line.nanos_at(ticks)));
}

#[test]
fn pair_is_read_in_its_order() {
    if trusts() {
        let pair = Pair::read(&Machine);
        assert!(pair.before < pair.after);
    }
}

#[test]
fn child_of_a_fork_goes_on_by_the_same_clock() {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let clock = counting();
        let before = clock.now_nanos(&Machine);
        assert!(crate::fork::holds_in_child(|| {
            let is_later = clock.now_nanos(&Machine) >= before;
            is_later && clock.is_counting() == trusts()
        }));
    }
}
