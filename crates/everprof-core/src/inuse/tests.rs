//! Claims about the in-use store: what comes out is what was put in, also where it
//! grows or is full.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::*;
use crate::arena::Arena;
use crate::sampler::Weight;

fn object(n: u64) -> Object {
    Object {
        bucket: Offset::from_raw(9).unwrap(),
        weight: Weight {
            size_bytes: n,
            objects_q8: 256 + n,
            bytes: 2 * n,
        },
        shift: [0, 8, 16, 4096][n as usize % 4],
        born: n,
    }
}

#[test]
fn objects_come_back_as_they_were_stored() {
    let arena = Arena::anonymous(8 << 20).unwrap();
    let store = InUse::create(arena.region()).unwrap();
    let mut model = HashMap::new();
    let count = if cfg!(miri) { 50 } else { 5000 };
    for n in 0..count {
        let address = 0x7000_0000_0008 + n as usize * 48;
        store.publish(store.reserve().unwrap(), address, &object(n));
        model.insert(address, object(n));
        if n % 3 == 0 {
            let gone = 0x7000_0000_0008 + (n / 2) as usize * 48;
            let held = store.hold(gone);
            assert_eq!(held.map(|held| held.object), model.remove(&gone));
            if let Some(held) = held {
                assert!(store.hold(gone).is_none(), "a held object is nobody else's");
                store.release(&held);
            }
        }
    }
    assert_eq!(store.load().0 as usize, model.len());
    let mut seen = 0;
    store.for_each(|address, object| {
        seen += 1;
        assert_eq!(model[&(address as usize)], object);
    });
    assert_eq!(seen, model.len());
    assert!(store.hold(12345).is_none());
}

#[test]
fn restored_object_is_found_again() {
    let arena = Arena::anonymous(1 << 20).unwrap();
    let store = InUse::create(arena.region()).unwrap();
    store.publish(store.reserve().unwrap(), 4096, &object(1));
    let held = store.hold(4096).unwrap();
    store.restore(&held);
    store.release(&store.hold(4096).unwrap());
    assert!(store.hold(4096).is_none());
    assert_eq!(store.load().0, 0);
}

// Under Miri so many places take hours.
#[cfg(not(miri))]
#[test]
fn thinning_rises_as_room_runs_out_and_falls_with_it() {
    let arena = Arena::anonymous(1 << 20).unwrap();
    let store = InUse::create(arena.region()).unwrap();
    let mut last = 0;
    let mut places = Vec::new();
    while let Some(place) = store.reserve() {
        places.push(place);
        let thinning = store.thinning();
        assert!(thinning >= last, "{thinning} after {last}");
        last = thinning;
    }
    assert!(last >= 16, "{last}");
    for place in places {
        store.unreserve(place);
    }
    assert_eq!(store.thinning(), 0);
}

/// As after a fork, or a longjmp, in the middle of making a segment.
#[test]
fn segment_that_was_never_finished_is_made_or_thinned_for() {
    let arena = Arena::anonymous(1 << 20).unwrap();
    let store = InUse::create(arena.region()).unwrap();
    store.root.growing.store(1, Ordering::Relaxed);
    let taken = (0..FIRST_SLOTS / 2 - 1)
        .filter(|_| store.reserve().is_some())
        .count();
    assert_eq!((taken, store.count()), (FIRST_SLOTS / 2 - 1, 1));
    store.disown_all();
    assert!(store.reserve().is_some());
    assert_eq!(store.count(), 2, "the child makes it itself");
    store.root.growing.store(1, Ordering::Relaxed);
    while store.reserve().is_some() {}
    assert!(store.thinning() > 0);
}

#[test]
fn threads_may_insert_and_remove_at_once() {
    let arena = Arena::anonymous(16 << 20).unwrap();
    let store = InUse::create(arena.region()).unwrap();
    // Room for all of them beforehand, as nobody waits for one who makes more.
    let places: Vec<Place> = (0..8).map(|_| store.reserve().unwrap()).collect();
    places.into_iter().for_each(|place| store.unreserve(place));
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            scope.spawn(move || {
                for n in 0..rounds {
                    let address = 16 * (1 + thread + 4 * (n % 97));
                    store.publish(store.reserve().unwrap(), address, &object(n as u64));
                    let held = store.hold(address).unwrap();
                    assert_eq!(held.object, object(n as u64));
                    store.release(&held);
                }
            });
        }
    });
    assert_eq!(store.load().0, 0);
}
