//! Model of the bucket table: threads that meet one stack agree on its bucket.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use everprof_core::arena::{Arena, Root};
use everprof_core::table::{Key, Table};
use loom::sync::Arc;
use loom::thread;

fn key(stack: &[u64]) -> Key<'_> {
    Key {
        stack,
        extra: 8,
        labels: 0,
    }
}

/// Under loom a table has two heads and 16 homes, half of which its own buckets have taken:
/// these stacks meet in homes or in chains, and an insertion runs into a swap that fails.
#[test]
fn two_threads_link_a_stack_once() {
    for first in [100, 116, 132, 148] {
        link_once(first, first + 100);
    }
}

fn link_once(one: u64, another: u64) {
    loom::model(move || {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let before = Table::create(arena.region(), Root::HeapTable)
            .unwrap()
            .len();
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let table = Table::open(other.region(), Root::HeapTable).unwrap();
            (
                table.find_or_insert(&key(&[one])).unwrap(),
                table.find_or_insert(&key(&[another])).unwrap(),
            )
        });
        let table = Table::open(arena.region(), Root::HeapTable).unwrap();
        let second = table.find_or_insert(&key(&[another])).unwrap();
        let first = table.find_or_insert(&key(&[one])).unwrap();
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
        Table::create(arena.region(), Root::HeapTable).unwrap();
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let table = Table::open(other.region(), Root::HeapTable).unwrap();
            let at = table.find_or_insert(&key(&[100, 300])).unwrap();
            let bucket = table.bucket(at).unwrap();
            bucket.cells(0).unwrap().add(3, &[8]);
        });
        let table = Table::open(arena.region(), Root::HeapTable).unwrap();
        for head in table.heads() {
            for (at, bucket) in table.chain(head, 0) {
                let stack = table.stack(at).unwrap();
                if bucket.extra() == 8 {
                    assert_eq!(stack, [100, 300]);
                    let bytes = bucket.cells(0).unwrap().read_one(3);
                    assert!(bytes == 0 || bytes == 8);
                } else {
                    assert_eq!(stack.len(), 1);
                }
            }
        }
        thread.join().unwrap();
    });
}
