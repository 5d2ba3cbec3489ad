//! Model of the label sets: threads that meet one set by different ways agree on it.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use everprof_core::arena::Arena;
use everprof_core::labels::NONE;
use everprof_core::labels::sets::Sets;
use loom::sync::Arc;
use loom::thread;

/// Under loom there is one chain: every record meets every other in it, and swaps fail.
#[test]
fn two_threads_store_a_set_once_and_find_it_whole() {
    loom::model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        Sets::create(arena.region()).unwrap();
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let sets = Sets::open(other.region()).unwrap();
            sets.extend(NONE, &[("b", "2"), ("a", "1")])
        });
        let sets = Sets::open(arena.region()).unwrap();
        let set = sets.extend(NONE, &[("a", "1"), ("b", "2")]);
        assert!(sets.pairs(set).unwrap().eq([("a", "1"), ("b", "2")]));
        assert_eq!(thread.join().unwrap(), set);
        assert_eq!(sets.len(), 1);
    });
}
