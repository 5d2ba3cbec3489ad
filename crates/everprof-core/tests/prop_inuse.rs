//! Property: the in-use store is a map from addresses to objects.
#![cfg(not(any(everprof_loom, miri)))]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use everprof_core::arena::{Arena, Offset};
use everprof_core::inuse::{Held, InUse, Object, Place};
use everprof_core::sampler::Weight;
use proptest::prelude::*;

/// What a program may do, with one of few addresses so that they come again.
#[derive(Clone, Debug)]
enum Step {
    Allocate(usize, u64),
    Reserve,
    Unreserve,
    Free(usize),
    Hold(usize),
    RestoreOne,
    ReleaseOne,
}

fn step() -> impl Strategy<Value = Step> {
    // Some with bit 3 set, some aligned to pages: as sampled objects stand.
    let address = (1..400usize).prop_map(|n| if n % 2 == 0 { n * 16 + 8 } else { n * 4096 });
    prop_oneof![
        6 => (address.clone(), any::<u64>()).prop_map(|(address, n)| Step::Allocate(address, n)),
        1 => Just(Step::Reserve),
        1 => Just(Step::Unreserve),
        3 => address.clone().prop_map(Step::Free),
        2 => address.prop_map(Step::Hold),
        1 => Just(Step::RestoreOne),
        1 => Just(Step::ReleaseOne),
    ]
}

fn object(n: u64) -> Object {
    Object {
        bucket: Offset::from_raw((n as u32).max(1)).unwrap(),
        weight: Weight {
            size_bytes: n,
            objects_q8: n.rotate_left(20),
            bytes: n.rotate_left(40),
        },
        shift: if n.is_multiple_of(3) {
            0
        } else {
            1 << (n % 20)
        },
        born: !n,
    }
}

proptest! {
    #[test]
    fn store_behaves_as_a_map(steps in prop::collection::vec(step(), 1..400)) {
        let arena = Arena::anonymous(1 << 20).unwrap();
        let store = InUse::create(arena.region()).unwrap();
        let mut model: HashMap<usize, Object> = HashMap::new();
        let mut places: Vec<Place> = Vec::new();
        let mut held: Vec<Held> = Vec::new();
        for step in steps {
            match step {
                // The inner allocator gives no address that is in use, nor one
                // that its last owner has not given back.
                Step::Allocate(at, n) => {
                    if !model.contains_key(&at) && held.iter().all(|held| held.address() != at) {
                        store.publish(store.reserve().unwrap(), at, &object(n));
                        model.insert(at, object(n));
                    }
                }
                Step::Reserve => places.push(store.reserve().unwrap()),
                Step::Unreserve => {
                    if let Some(place) = places.pop() {
                        store.unreserve(place);
                    }
                }
                Step::Free(at) => {
                    let found = store.hold(at);
                    prop_assert_eq!(found.map(|held| held.object), model.remove(&at));
                    if let Some(held) = found {
                        store.release(&held);
                    }
                }
                Step::Hold(at) => {
                    let found = store.hold(at);
                    prop_assert_eq!(found.map(|held| held.object), model.remove(&at));
                    held.extend(found);
                }
                Step::RestoreOne => {
                    if let Some(held) = held.pop() {
                        model.insert(held.address(), held.object);
                        store.restore(&held);
                    }
                }
                Step::ReleaseOne => {
                    if let Some(held) = held.pop() {
                        store.release(&held);
                    }
                }
            }
            prop_assert_eq!(store.load().0 as usize, model.len() + held.len() + places.len());
        }
        prop_assert!(store.is_valid());
        let mut seen = HashMap::new();
        store.for_each(|address, object| {
            seen.insert(address as usize, object);
        });
        prop_assert_eq!(seen, model);
    }
}
