//! Claims about the table: one bucket a key, whoever comes first and however full it is.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::arena::Arena;

const SMALL: usize = 64 * 1024;

fn key(stack: &[u64], extra: u64) -> Key<'_> {
    Key {
        stack,
        extra,
        labels: 0,
    }
}

fn create(arena: &Arena) -> Table<'_> {
    Table::create(arena.region(), Root::HeapTable).unwrap()
}

#[test]
fn same_stack_and_extra_is_the_same_bucket() {
    let arena = Arena::anonymous(SMALL).unwrap();
    let table = create(&arena);
    let bucket = table.find_or_insert(&key(&[100, 200], 8)).unwrap();
    assert_eq!(table.find_or_insert(&key(&[100, 200], 8)), Some(bucket));
    assert_ne!(table.find_or_insert(&key(&[100, 200], 16)), Some(bucket));
    assert_ne!(table.find_or_insert(&key(&[100], 8)), Some(bucket));
    assert_ne!(table.find_or_insert(&key(&[100, 200, 0], 8)), Some(bucket));
    let labelled = Key {
        labels: 7,
        ..key(&[100, 200], 8)
    };
    assert_ne!(table.find_or_insert(&labelled), Some(bucket));
    assert_eq!(table.stack(bucket).unwrap(), [100, 200]);
    assert_eq!(table.bucket(bucket).unwrap().extra(), 8);
    assert!(table.is_valid());
}

#[test]
fn full_table_still_finds_and_has_its_lost_buckets() {
    let arena = Arena::anonymous(SMALL).unwrap();
    let table = create(&arena);
    let mut made = 0;
    while table.find_or_insert(&key(&[1000 + made; 16], 8)).is_some() {
        made += 1;
    }
    assert!(made > 50);
    assert!(table.find_or_insert(&key(&[1000; 16], 8)).is_some());
    assert_eq!(
        table.stack(table.lost(Lost::TableFull).unwrap()).unwrap(),
        [Lost::TableFull.pc()]
    );
    assert!(table.is_valid());
}

#[cfg(not(miri))]
#[test]
fn few_stacks_touch_no_heads() {
    let arena = Arena::anonymous(64 << 20).unwrap();
    for named in [Root::HeapTable, Root::BlockTable, Root::MutexTable] {
        let table = Table::create(arena.region(), named).unwrap();
        // Relaxed: nobody else is here.
        let is_empty = |head: &AtomicU32| head.load(Ordering::Relaxed) == 0;
        assert!(table.heads.iter().all(is_empty), "{named:?}");
        let stacks = table.homes.len() as u64 / 32;
        for n in 0..stacks {
            let stack = [0x4000 + 16 * n, 99];
            assert!(table.find_or_insert(&key(&stack, 8)).is_some());
        }
        let taken = table.heads.iter().filter(|head| !is_empty(head)).count();
        assert!(taken <= 1, "{taken} heads for {stacks} stacks");
    }
}

#[test]
fn opened_table_is_the_one_created() {
    let arena = Arena::anonymous(SMALL).unwrap();
    assert!(Table::open(arena.region(), Root::HeapTable).is_none());
    let bucket = create(&arena).find_or_insert(&key(&[70, 80], 24)).unwrap();
    let table = Table::open(arena.region(), Root::HeapTable).unwrap();
    assert_eq!(table.find_or_insert(&key(&[70, 80], 24)), Some(bucket));
}

#[test]
fn threads_that_race_agree_on_every_bucket() {
    let arena = Arena::anonymous(1 << 20).unwrap();
    let table = create(&arena);
    let stacks = if cfg!(miri) { 10 } else { 500 };
    let found: Vec<Vec<Offset>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..stacks)
                        .map(|n| table.find_or_insert(&key(&[64 + n, 99], 8)).unwrap())
                        .collect()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(table.is_valid());
}
