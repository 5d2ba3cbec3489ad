//! Property: the bucket table is a map from (stack, key) to buckets that stay.
#![cfg(not(any(everprof_loom, miri)))]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use everprof_core::arena::{Arena, Offset, Root};
use everprof_core::table::{Key, Table};
use proptest::prelude::*;

/// Few addresses, so that stacks repeat, share tails and are prefixes of others.
fn stack() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![64..70u64, any::<u64>()], 0..6)
}

proptest! {
    #[test]
    fn table_behaves_as_a_map(
        steps in prop::collection::vec((stack(), 0..3u64, 0..1000u64), 1..300),
        kib in 64..256usize,
    ) {
        let arena = Arena::anonymous(kib * 1024).unwrap();
        let table = Table::create(arena.region(), Root::HeapTable).unwrap();
        let made = table.len();
        let mut model: HashMap<(Vec<u64>, u64), (Offset, u64)> = HashMap::new();
        for (stack, key, bytes) in steps {
            let found = table.find_or_insert(&Key {
                stack: &stack,
                extra: key,
                labels: 0,
            });
            let known = model.entry((stack.clone(), key));
            let (at, sum) = match (found, known) {
                (Some(found), known) => known.or_insert((found, 0)),
                // No room: only a stack that is not there yet is refused.
                (None, known) => {
                    prop_assert!(matches!(known, std::collections::hash_map::Entry::Vacant(_)));
                    continue;
                }
            };
            prop_assert_eq!(found, Some(*at));
            prop_assert_eq!(table.stack(*at).unwrap(), &stack[..]);
            let bucket = table.bucket(*at).unwrap();
            prop_assert_eq!(bucket.extra(), key);
            bucket.cells((bytes % 2) as usize).unwrap().add(3, &[bytes]);
            *sum += bytes;
        }
        prop_assert!(table.is_valid());
        prop_assert_eq!(table.len(), made + model.len());
        for (at, sum) in model.values() {
            let bucket = table.bucket(*at).unwrap();
            let counted: u64 = (0..2).map(|side| bucket.cells(side).unwrap().read_one(3)).sum();
            prop_assert_eq!(counted, *sum);
        }
    }
}
