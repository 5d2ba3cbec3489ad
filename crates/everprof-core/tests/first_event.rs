//! Threads whose first events come at once, before there is an arena: each is counted.
//!
//! Each test repeats itself on fresh stores. Where whoever comes while the arena is made
//! goes without, one of the rounds shows it: with two processors in four of five rounds
//! or more, so that the odds of passing all are nil.
#![cfg(all(target_os = "linux", not(miri), not(everprof_loom)))]
#![allow(clippy::unwrap_used)]

use std::sync::{Barrier, Mutex};
use std::thread;

use everprof_core::labels::{self, Labels};
use everprof_core::local::Local;
use everprof_core::stack::Registers;
use everprof_core::store::Store;
use everprof_core::waits::{self, Begun, Ended, Operation, Wait};
use everprof_core::{custom, heap, spawn};

const THREADS: u64 = 8;
const ROUNDS: u32 = 50;

/// Runs `event` on all threads at once, on a fresh store; then `check`.
fn storm(event: impl Fn(&Store, u64) + Sync, check: impl Fn(&Store)) {
    for _ in 0..ROUNDS {
        let store = Box::new(Store::new());
        let together = Barrier::new(THREADS as usize);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (store, together, event) = (&store, &together, &event);
                scope.spawn(move || {
                    together.wait();
                    event(store, number);
                });
            }
        });
        check(&store);
    }
}

fn stack(out: &mut [u64]) -> usize {
    out[0] = 5000;
    1
}

#[test]
fn every_sampled_object_is_in_the_heap() {
    let event = |store: &Store, number: u64| {
        let (recorder, local) = (heap::Recorder::of(store), Local::new());
        recorder.set_period(1);
        local.countdown.set(-8);
        let ticket = recorder.sample_with(&local, 8, 1000, stack);
        ticket.unwrap().commit(4096 * (number as usize + 1), 0);
    };
    storm(event, |store| {
        let snapshot = heap::Recorder::of(store).snapshot();
        let samples: u64 = snapshot.iter().map(|bucket| bucket.in_use().samples).sum();
        assert_eq!(samples, THREADS);
    });
}

#[test]
fn everything_that_is_held_is_in_a_custom_profile() {
    let event = |store: &Store, _| {
        let held = custom::Recorder::of(store).take_with(1, 3, 0, stack);
        let _held = held.unwrap();
    };
    storm(event, |store| {
        let snapshot = custom::Recorder::of(store).snapshot(1);
        let sums = snapshot.iter().map(|bucket| bucket.held);
        let sums = sums.fold((0, 0), |sums, held| (sums.0 + held.0, sums.1 + held.1));
        assert_eq!(sums, (THREADS, 3 * THREADS));
    });
}

#[test]
fn every_wait_is_counted() {
    let wait = Wait {
        operation: Operation::Futex,
        address: 0x40,
        timed: false,
    };
    let event = |store: &Store, _| {
        let (recorder, local) = (waits::Recorder::of(store), Local::new());
        recorder.set_block_period(1);
        let mut begun = Begun::NOTHING;
        let registers = Registers::here();
        recorder.begin_with(&local, &wait, &registers, &mut begun, || 100, stack);
        assert!(begun.is_something());
        recorder.end_with(&local, &wait, &begun, Ended::Woken, 200, stack);
    };
    storm(event, |store| {
        let snapshot = waits::Recorder::of(store).block();
        let contentions: f64 = snapshot.iter().map(|bucket| bucket.waits.contentions).sum();
        assert_eq!(contentions, THREADS as f64);
    });
}

#[test]
fn every_thread_has_its_creator() {
    let event = |store: &Store, _| {
        let local = Local::new();
        let run = spawn::Run {
            routine: 1,
            argument: 2,
        };
        let created = spawn::Recorder::of(store).begin_with(&local, run, stack);
        created.unwrap().succeeded();
    };
    storm(event, |store| {
        let snapshot = spawn::Recorder::of(store).snapshot();
        let created: u64 = snapshot.iter().map(|bucket| bucket.created).sum();
        assert_eq!(created, THREADS);
    });
}

#[test]
fn equal_labels_are_one_set() {
    let all = Mutex::new(Vec::new());
    let event = |store: &Store, _| {
        let set = labels::extend(store, Labels::NONE, &[("tenant", "7")]);
        all.lock().unwrap().push(set);
    };
    storm(event, |store| {
        // One that was lost is no other's.
        let sets = std::mem::take(&mut *all.lock().unwrap());
        assert!(sets.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(labels::sets_of(store).unwrap().len(), 1);
    });
}
