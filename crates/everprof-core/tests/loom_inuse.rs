//! Model of the in-use store: every object is taken once, as it was stored.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use everprof_core::arena::{Arena, Offset};
use everprof_core::inuse::{InUse, Object};
use everprof_core::sampler::Weight;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

fn object(n: u64) -> Object {
    Object {
        bucket: Offset::from_raw(90 + n as u32).unwrap(),
        weight: Weight {
            size_bytes: n,
            objects_q8: 2 * n,
            bytes: 3 * n,
        },
        shift: 8,
        born: 4 * n,
    }
}

fn store(arena: &Arena) -> InUse<'_> {
    InUse::open(arena.region()).unwrap()
}

/// A segment has four slots under loom, two of which may be taken: the second
/// and third object make it grow.
#[test]
fn objects_of_two_threads_do_not_meet() {
    let mut model = loom::model::Builder::new();
    // Forced switches are bounded, so that it ends in seconds.
    model.preemption_bound = Some(3);
    model.check(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        InUse::create(arena.region()).unwrap();
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let store = store(&other);
            store.publish(store.reserve().unwrap(), 64, &object(1));
            let held = store.hold(64).unwrap();
            assert_eq!(held.object, object(1));
            store.release(&held);
        });
        let store = store(&arena);
        store.publish(store.reserve().unwrap(), 128, &object(2));
        let held = store.hold(128).unwrap();
        assert_eq!(held.object, object(2));
        store.release(&held);
        thread.join().unwrap();
        assert_eq!(store.load().0, 0);
    });
}

/// An object that another thread frees is found there, whole.
#[test]
fn object_is_taken_whole_by_another_thread() {
    loom::model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        InUse::create(arena.region()).unwrap();
        // The program's way to hand an address on.
        let handed = Arc::new(AtomicU64::new(0));
        let (other, their_handed) = (Arc::clone(&arena), Arc::clone(&handed));
        let thread = thread::spawn(move || {
            let store = store(&other);
            store.publish(store.reserve().unwrap(), 64, &object(1));
            their_handed.store(64, Ordering::Release);
        });
        let store = store(&arena);
        if handed.load(Ordering::Acquire) == 64 {
            let held = store.hold(64).unwrap();
            assert_eq!(held.object, object(1));
            store.restore(&held);
        }
        thread.join().unwrap();
        let held = store.hold(64).unwrap();
        store.release(&held);
        assert!(store.hold(64).is_none());
    });
}

/// Two threads that free one address at once, which is the program's mistake:
/// one of them gets the object.
#[test]
fn object_freed_twice_is_taken_once() {
    loom::model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let mine = InUse::create(arena.region()).unwrap();
        mine.publish(mine.reserve().unwrap(), 64, &object(1));
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || store(&other).hold(64).is_some());
        let here = store(&arena).hold(64).is_some();
        assert!(here != thread.join().unwrap());
    });
}

/// Who visits sees an object as it was stored, or not at all, while its slot is
/// given from one object to the next.
#[test]
fn visitor_never_sees_a_mixture() {
    let mut model = loom::model::Builder::new();
    // Without a bound it takes a minute and a half, and finds the same.
    model.preemption_bound = Some(3);
    model.check(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let mine = InUse::create(arena.region()).unwrap();
        mine.publish(mine.reserve().unwrap(), 64, &object(1));
        let other = Arc::clone(&arena);
        // The visitor is the second thread: loom runs the first one first, and
        // goes back only to writes that the second thread's reads may precede.
        let thread = thread::spawn(move || {
            store(&other).for_each(|address, found| {
                assert_eq!(found, object(if address == 64 { 1 } else { 2 }));
            });
        });
        mine.release(&mine.hold(64).unwrap());
        // Both addresses begin at one slot of the four.
        mine.publish(mine.reserve().unwrap(), 128, &object(2));
        thread.join().unwrap();
    });
}
