//! Claims about the threads' records: who has one, and when it is another's.

#![allow(clippy::unwrap_used)]

use super::life::TAG_BITS;
use super::*;
use crate::arena::Arena;

const ROOM: usize = 1 << 20;

fn pool(arena: &Arena) -> Pool<'_> {
    Pool::create(arena.region()).unwrap()
}

fn bucket(number: u32) -> Option<Offset> {
    Offset::from_raw(number)
}

fn start(pool: &Pool<'_>, entry: Entry, tid: u32) -> Entry {
    assert!(pool.start(entry, tid, 0));
    entry
}

fn tids(pool: &Pool<'_>) -> Vec<u32> {
    let mut tids = Vec::new();
    pool.for_each(|known| tids.push(known.tid));
    tids.sort_unstable();
    tids
}

#[test]
fn thread_is_on_record_from_its_beginning_to_its_end() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let pool = pool(&arena);
    let entry = pool.acquire(bucket(7)).unwrap();
    assert_eq!((tids(&pool), pool.starting()), (vec![], 1));
    start(&pool, entry, 100);
    assert_eq!((tids(&pool), pool.starting()), (vec![100], 0));
    assert_eq!(pool.known(entry.at).unwrap().bucket, Offset::from_raw(7));
    assert_eq!(pool.seen(100), Seen::At(entry.at));
    assert_eq!(pool.retire(entry), Some(0));
    assert_eq!(pool.retire(entry), None, "once");
    assert_eq!(tids(&pool), []);
    assert_eq!(pool.seen(100), Seen::At(entry.at), "it may still be ending");
    assert_eq!(pool.seen(101), Seen::Unknown);
}

#[test]
fn creation_that_failed_leaves_nothing_but_a_free_record() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let pool = pool(&arena);
    let first = pool.acquire(bucket(1)).unwrap();
    pool.abandon(first);
    assert_eq!((tids(&pool), pool.starting()), (vec![], 0));
    assert!(pool.has_free());
    let used = arena.region().used_bytes();
    let second = pool.acquire(bucket(2)).unwrap();
    assert_eq!(first.at, second.at);
    assert_ne!(first.tag, second.tag);
    assert_eq!(arena.region().used_bytes(), used);
}

#[test]
fn time_is_taken_once_and_by_the_life_it_belongs_to() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let pool = pool(&arena);
    let first = pool.acquire(bucket(1)).unwrap();
    start(&pool, first, 100);
    assert_eq!(pool.claim(first, 5_500), 5_000);
    assert_eq!(pool.claim(first, 5_999), 0);
    assert_eq!(pool.claim(first, 4_000), 0);
    assert_eq!(pool.claim(first, 9_001), 4_000);
    assert_eq!(pool.retire(first), Some(9_000));
    assert_eq!(pool.claim(first, 20_000), 0);
    let second = pool.acquire(bucket(2)).unwrap();
    start(&pool, second, 101);
    assert_eq!(pool.claim(first, 20_000), 0);
    assert_eq!(pool.claim(second, 3_000), 3_000);
    assert_eq!(pool.retire(first), None);
    assert_eq!(tids(&pool), [101]);
}

#[test]
fn tags_come_round() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let pool = pool(&arena);
    let turns = if cfg!(miri) { 100 } else { 3 << TAG_BITS };
    for turn in 0..turns {
        let entry = pool.acquire(bucket(1)).unwrap();
        assert_eq!(entry.tag % 2, 1);
        start(&pool, entry, 100 + turn);
        assert_eq!(pool.retire(entry), Some(0));
    }
    assert_eq!(tids(&pool), []);
}

#[test]
fn steps_of_a_walk_come_to_every_record() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let pool = pool(&arena);
    for tid in 1..=20 {
        start(&pool, pool.acquire(bucket(1)).unwrap(), tid);
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        pool.for_some(4, |known| seen.push(known.tid));
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=20));
}

#[test]
fn threads_that_take_and_give_back_never_share_a_record() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let pool = pool(&arena);
    let turns = if cfg!(miri) { 20 } else { 20_000 };
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            scope.spawn(move || {
                for turn in 1..=turns {
                    let number = thread * turns + turn;
                    let entry = pool.acquire(bucket(number as u32)).unwrap();
                    start(&pool, entry, number as u32);
                    let known = pool.known(entry.at).unwrap();
                    assert_eq!((known.entry, known.tid), (entry, number as u32));
                    assert_eq!(known.bucket, Offset::from_raw(number as u32));
                    assert_eq!(pool.claim(entry, 7_000), 7_000);
                    assert_eq!(pool.retire(entry), Some(7_000));
                }
            });
        }
    });
    assert_eq!((tids(&pool), pool.starting()), (vec![], 0));
    let most = arena.region().used_bytes();
    assert!(most < ROOM / 2, "records are used again: {most}");
}

#[test]
fn reset_frees_every_record_of_those_who_stayed_behind() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let pool = pool(&arena);
    let stayed: Vec<Entry> = (1..=3)
        .map(|tid| start(&pool, pool.acquire(bucket(1)).unwrap(), tid))
        .collect();
    let starting = pool.acquire(bucket(1)).unwrap();
    pool.reset();
    assert!(!pool.start(starting, 4, 0), "it is nobody's");
    pool.abandon(starting);
    assert_eq!((tids(&pool), pool.starting()), (vec![], 0));
    assert_eq!(pool.seen(1), Seen::Unknown);
    let gone = |entry: &Entry| pool.retire(*entry).is_none() && pool.claim(*entry, 9_000) == 0;
    assert!(stayed.iter().chain([&starting]).all(gone));
    let used = arena.region().used_bytes();
    for tid in 1..=4 {
        start(&pool, pool.acquire(bucket(1)).unwrap(), tid);
    }
    assert_eq!(arena.region().used_bytes(), used);
}
