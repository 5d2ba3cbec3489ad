//! Claims about the store: one arena, whoever comes first, and what is void in a fork's child.
//!
//! What a child does is done here in the one process, so that Miri sees it; forks themselves are
//! in `tests/heap_fork.rs`.

#![allow(clippy::unwrap_used)]

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::ledger::{Ledger, Name};
use crate::settings::{self, published};
use crate::table::Key;

/// A small one: Miri keeps a record of every byte.
fn store() -> Box<Store> {
    let store = Box::new(Store::new());
    assert!(store.set_memory_limit(1 << 20));
    store
}

fn bucket_of(region: Region<'_>, leaf: u64) -> (Ledger<'_>, crate::arena::Offset) {
    let ledger = Ledger::open(region, Name::HEAP).unwrap();
    let key = Key {
        stack: &[leaf, 200],
        extra: 8,
        labels: 0,
    };
    let bucket = ledger.bucket(&key).unwrap();
    (ledger, bucket)
}

fn count(region: Region<'_>, leaf: u64) {
    let (ledger, bucket) = bucket_of(region, leaf);
    ledger.count(bucket, |cells| cells.add(0, &[1]));
}

fn counted(region: Region<'_>, leaf: u64) -> u64 {
    let (ledger, bucket) = bucket_of(region, leaf);
    let bucket = ledger.table.bucket(bucket).unwrap();
    let sides = [0, 1].map(|side| bucket.cells(side).unwrap().read_one(0));
    sides.iter().sum()
}

#[test]
fn those_who_come_first_at_once_have_one_arena() {
    const THREADS: u64 = 3;
    let (store, together) = (store(), Barrier::new(THREADS as usize));
    let bases: Vec<usize> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    let region = store.region_or_make().unwrap();
                    count(region, 100);
                    region.base().addr().get()
                })
            })
            .collect();
        let bases = threads.into_iter().map(|thread| thread.join().unwrap());
        bases.collect()
    });
    assert!(bases.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(counted(store.own_region().unwrap(), 100), THREADS);
}

#[test]
fn figures_are_published_whether_set_before_or_after_the_making() {
    let store = store();
    store.set(settings::Name::HeapPeriod, 77);
    store.prepare();
    store.set(settings::Name::BlockPeriod, 5);
    let header = store.own_region().unwrap().header();
    assert_eq!(published(header, settings::Name::HeapPeriod), 77);
    assert_eq!(published(header, settings::Name::BlockPeriod), 5);
}

#[test]
fn closed_store_has_no_arena_whether_it_was_made_or_not() {
    for is_made in [false, true] {
        let store = store();
        if is_made {
            store.prepare();
        }
        store.close();
        assert!(store.region_or_make().is_none());
        assert_eq!(store.memory_used(), 0);
    }
}

#[test]
fn child_keeps_what_is_private_and_has_counted_nothing() {
    let store = store();
    count(store.region_or_make().unwrap(), 100);
    let before = store.generation();
    store.become_own(store.own_region().unwrap());
    assert_ne!(store.generation(), before);
    let region = store.region_of(before).unwrap();
    assert_eq!(counted(region, 100), 0);
    count(region, 100);
    assert_eq!(counted(region, 100), 1);
}

#[test]
fn child_of_one_that_others_see_begins_anew() {
    let store = store();
    count(store.region_or_make().unwrap(), 100);
    store.set(settings::Name::HeapPeriod, 77);
    let used = store.memory_used();
    let before = store.generation();
    // Of a file others see, this alone differs in the child.
    store.shared.store(1, Ordering::Relaxed);
    store.become_own(store.own_region().unwrap());
    assert!(store.region_of(before).is_none());
    let region = store.own_region().unwrap();
    assert!(store.memory_used() < used);
    assert_eq!(counted(region, 100), 0);
    assert_eq!(published(region.header(), settings::Name::HeapPeriod), 77);
    let after = store.generation();
    assert_eq!(after.made(), before.made() + 1);
    assert!(store.region_of(after).is_some());
}
