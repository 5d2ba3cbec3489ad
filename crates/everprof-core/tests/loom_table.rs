//! Model of the bucket table: threads that meet one stack agree on its bucket.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use everprof_core::arena::Arena;
use everprof_core::sampler::Weight;
use everprof_core::table::Table;
use loom::sync::Arc;
use loom::thread;

/// Under loom a table has two heads: these stacks meet in chains, and the third
/// insertion runs into a swap that fails.
#[test]
fn two_threads_link_a_stack_once() {
    loom::model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let before = Table::create(arena.region()).unwrap().len();
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let table = Table::open(other.region()).unwrap();
            (
                table.find_or_insert(&[100], 8).unwrap(),
                table.find_or_insert(&[200], 8).unwrap(),
            )
        });
        let table = Table::open(arena.region()).unwrap();
        let second = table.find_or_insert(&[200], 8).unwrap();
        let first = table.find_or_insert(&[100], 8).unwrap();
        assert_eq!(thread.join().unwrap(), (first, second));
        assert_eq!(table.len(), before + 2);
        assert!(table.is_valid());
    });
}

/// What is found is whole: its stack, its key and its counters.
#[test]
fn found_bucket_is_whole() {
    loom::model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        Table::create(arena.region()).unwrap();
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let table = Table::open(other.region()).unwrap();
            let at = table.find_or_insert(&[100, 300], 8).unwrap();
            let weight = Weight {
                size_bytes: 8,
                objects_q8: 256,
                bytes: 8,
            };
            table
                .bucket(at)
                .unwrap()
                .cells(0)
                .unwrap()
                .alloc
                .add(&weight);
        });
        let table = Table::open(arena.region()).unwrap();
        for head in table.heads() {
            for (at, bucket) in table.chain(head, 0) {
                let stack = table.stack(at).unwrap();
                if bucket.extra() == 8 {
                    assert_eq!(stack, [100, 300]);
                    let bytes = bucket.cells(0).unwrap().read_alloc()[3];
                    assert!(bytes == 0 || bytes == 8);
                } else {
                    assert_eq!(stack.len(), 1);
                }
            }
        }
        thread.join().unwrap();
    });
}
