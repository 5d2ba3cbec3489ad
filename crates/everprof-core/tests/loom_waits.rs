//! Models of waits: charges of an address add up, records have one address each, and readers
//! see waits whole.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use everprof_core::arena::{Arena, Offset};
use everprof_core::waits::addresses::Addresses;
use everprof_core::waits::log::Log;
use everprof_core::waits::slots::{Entry, Place, Slots};
use everprof_core::waits::word::Units;
use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

/// Forced switches are bounded, so that it ends in seconds.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

fn at(units: u64) -> Units {
    Units::of_nanos(units * 16)
}

fn open(arena: &Arena) -> Addresses<'_> {
    Addresses::open(arena.region()).unwrap()
}

fn wake(addresses: &Addresses<'_>, address: u64, units: u64) -> u64 {
    addresses
        .wake(address, || units * 16)
        .map_or(0, |charge| charge.nanos / 16)
}

/// Two wakes race for one waiter, who leaves in their midst: together they are charged no
/// more than it waited, and what they are not charged the next one is.
#[test]
fn racing_wakes_charge_each_moment_once() {
    model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let addresses = Addresses::create(arena.region()).unwrap();
        let record = addresses.come(64, at(100), |_| ()).unwrap();
        let other = Arc::clone(&arena);
        let waker = thread::spawn(move || wake(&open(&other), 64, 120));
        let other = Arc::clone(&arena);
        let waiter = thread::spawn(move || open(&other).leave(record, at(100), 16 * 140, true));
        let here = wake(&addresses, 64, 130);
        let there = waker.join().unwrap();
        waiter.join().unwrap();
        let rest = wake(&addresses, 64, 200);
        assert_eq!(addresses.waiters(64), 0);
        let total = here + there + rest;
        assert!(total <= 30, "{here} + {there} + {rest}");
        assert_eq!(wake(&addresses, 64, 300), 0);
        // From here on it is as if nothing had raced, but for what was charged too much
        // when a wake came between the waiter's look and its leaving.
        let record = addresses.come(64, at(400), |_| ()).unwrap();
        let next = wake(&addresses, 64, 450);
        assert!(next <= 50 && next + 30 >= 50, "{next}");
        addresses.leave(record, at(400), 16 * 460, true);
    });
}

/// Waiters of one new address find one record, or none.
#[test]
fn one_address_has_one_record() {
    model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let addresses = Addresses::create(arena.region()).unwrap();
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || open(&other).come(64, at(100), |_| ()));
        let here = addresses.come(64, at(101), |_| ());
        let there = thread.join().unwrap();
        if let (Some(here), Some(there)) = (here, there) {
            assert_eq!(here, there);
        }
        let count = u64::from(here.is_some()) + u64::from(there.is_some());
        assert_eq!(addresses.waiters(64), count);
        for (record, start) in [(here, 101), (there, 100)] {
            if let Some(record) = record {
                addresses.leave(record, at(start), 16 * 200, false);
            }
        }
        assert_eq!(addresses.waiters(64), 0);
        // Nothing is stuck: the next one finds its place.
        assert!(addresses.come(64, at(300), |_| ()).is_some());
    });
}

/// A record is given from an address whose waiter leaves to another, while somebody
/// comes back to the first.
#[test]
fn record_that_is_given_away_holds_nobody_else() {
    model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let addresses = Addresses::create(arena.region()).unwrap();
        // Two records in all: both are taken.
        let first = addresses.come(64, at(100), |_| ()).unwrap();
        let second = addresses.come(128, at(100), |_| ()).unwrap();
        addresses.leave(first, at(100), 16 * 110, true);
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let addresses = open(&other);
            let third = addresses.come(192, at(120), |_| ());
            if let Some(third) = third {
                // More, while somebody comes in vain.
                assert!(addresses.waiters(192) >= 1);
                addresses.leave(third, at(120), 16 * 130, false);
            }
        });
        if let Some(again) = addresses.come(64, at(121), |_| ()) {
            assert!(addresses.waiters(64) >= 1);
            addresses.leave(again, at(121), 16 * 131, false);
        }
        thread.join().unwrap();
        assert_eq!(addresses.waiters(128), 1);
        addresses.leave(second, at(100), 16 * 140, true);
        for address in [64, 128, 192] {
            assert_eq!(addresses.waiters(address), 0);
        }
    });
}

fn entry(n: u32) -> Entry {
    let wide = u64::from(n);
    Entry {
        tid: n,
        what: n,
        address: wide,
        since_nanos: wide,
        labels: n,
        registers: [wide; 4],
    }
}

/// Who asks sees a wait as it is, or not at all, while its slot goes from one to the next.
#[test]
fn reader_never_sees_a_mixture_of_waits() {
    model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let slots = Slots::create(arena.region()).unwrap();
        let claimed = slots.claim(0, 1, 100, |_| ()).unwrap();
        claimed.publish(&entry(1), Place::NONE);
        let other = Arc::clone(&arena);
        let reader = thread::spawn(move || {
            Slots::open(other.region()).unwrap().for_each(|seen| {
                assert_eq!(seen.entry, entry(seen.entry.tid));
            });
        });
        assert!(claimed.leave() == Place::NONE);
        let again = slots.claim(claimed.slot(), 2, 100, |_| ()).unwrap();
        again.publish(&entry(2), Place::NONE);
        reader.join().unwrap();
    });
}

/// Two threads that want one slot get one each, and a third grows.
#[test]
fn slot_is_claimed_by_one_thread() {
    model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let slots = Slots::create(arena.region()).unwrap();
        // Somebody's last slot, now free.
        let free = slots.claim(0, 1, 100, |_| ()).unwrap();
        free.publish(&entry(1), Place::NONE);
        free.leave();
        let last = free.slot();
        let shared = Arc::new(AtomicU64::new(0));
        let (other, count) = (Arc::clone(&arena), Arc::clone(&shared));
        let claim = move |arena: &Arena, n: u32| {
            let slots = Slots::open(arena.region()).unwrap();
            if let Some(claimed) = slots.claim(last, n, 100, |_| ()) {
                claimed.publish(&entry(n), Place::NONE);
                count.fetch_add(1, Ordering::Relaxed);
                return Some(claimed.slot());
            }
            None
        };
        let theirs = claim.clone();
        let thread = thread::spawn(move || theirs(&other, 2));
        let here = claim(&arena, 3);
        let there = thread.join().unwrap();
        assert!(here.is_some() && there.is_some() && here != there);
        let mut seen = 0;
        slots.for_each(|_| seen += 1);
        assert_eq!(seen, shared.load(Ordering::Relaxed));
    });
}

/// The waiter leaves while somebody requeues it and a reader buries it: its place is given
/// to one of them.
#[test]
fn place_is_taken_out_once() {
    model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let slots = Slots::create(arena.region()).unwrap();
        assert!(!slots.may_move() && slots.may_move());
        let (from, to) = (Place::new(1, at(1)), Place::new(2, at(2)));
        let claimed = slots.claim(0, 1, 100, |_| ()).unwrap();
        claimed.publish(&entry(1), from);
        let other = Arc::clone(&arena);
        let mover = thread::spawn(move || {
            let mut moved = false;
            Slots::open(other.region())
                .unwrap()
                .for_each(|seen| moved = seen.move_to(to));
            moved
        });
        let left = claimed.leave();
        let moved = mover.join().unwrap();
        assert!(left == if moved { to } else { from });
    });
}

/// What a wake is charged with while its waker is captured is counted once, by one of both.
#[test]
fn what_is_owed_to_a_wake_is_paid_once() {
    model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let log = Log::create(arena.region()).unwrap();
        let number = log.add(10, 0, 1, true);
        // Any place but the first ones.
        let bucket = Offset::from_raw(99).unwrap();
        let charge = move |arena: &Arena, nanos| {
            let log = Log::open(arena.region()).unwrap();
            log.charge(number, nanos).map_or(0, |(_, nanos)| nanos)
        };
        let other = Arc::clone(&arena);
        let first = thread::spawn(move || charge(&other, 5));
        let other = Arc::clone(&arena);
        let second = thread::spawn(move || charge(&other, 70));
        let told = log.tell(number, bucket);
        let total = told + first.join().unwrap() + second.join().unwrap();
        assert_eq!(total, 75);
    });
}
