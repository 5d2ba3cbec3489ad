//! Model of the threads' records: each end and each time is one's, and no record is
//! two threads'.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use everprof_core::arena::Arena;
use everprof_core::spawn_pool::{Entry, Pool};
use loom::sync::Arc;
use loom::thread;

fn begin(pool: &Pool<'_>, tid: u32) -> Entry {
    let entry = pool.acquire(None).unwrap();
    assert!(pool.start(entry, tid, 0));
    entry
}

/// A thread ends while somebody looks at its clock: together they count all of its time,
/// and only one of them its end.
#[test]
fn time_of_a_thread_is_counted_once_however_it_is_looked_at() {
    loom::model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let pool = Pool::create(arena.region()).unwrap();
        let entry = begin(&pool, 5);
        let other = Arc::clone(&arena);
        let looks = thread::spawn(move || {
            let pool = Pool::open(other.region()).unwrap();
            let claimed = pool.claim(entry, 3_000);
            (claimed, pool.retire(entry))
        });
        let claimed = pool.claim(entry, 2_000);
        let ended = pool.retire(entry);
        let (looked, found_ended) = looks.join().unwrap();
        assert!(ended.is_some() != found_ended.is_some());
        let counted = ended.or(found_ended).unwrap();
        assert_eq!(
            counted,
            claimed + looked,
            "what was claimed is what is known"
        );
    });
}

/// Two threads take, give back and take again: the free list never gives a record twice.
#[test]
fn record_is_one_threads_at_a_time() {
    loom::model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let pool = Pool::create(arena.region()).unwrap();
        let first = begin(&pool, 5);
        assert!(pool.retire(first).is_some());
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let pool = Pool::open(other.region()).unwrap();
            let entry = begin(&pool, 6);
            assert!(pool.retire(entry).is_some());
            begin(&pool, 7)
        });
        let mine = begin(&pool, 8);
        let theirs = thread.join().unwrap();
        assert_ne!(mine.at, theirs.at);
        let tids = [mine, theirs].map(|entry| pool.known(entry.at).unwrap().tid);
        assert_eq!(tids, [8, 7]);
        assert_eq!(pool.starting(), 0);
    });
}
