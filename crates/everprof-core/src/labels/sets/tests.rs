//! Claims about label sets: one number a set, however it came about, and losses that show.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::arena::Arena;

const ROOM: usize = 64 << 20;

fn sets(arena: &Arena) -> Sets<'_> {
    Sets::create(arena.region()).unwrap()
}

fn read(sets: &Sets<'_>, set: u32) -> Vec<(String, String)> {
    let pairs = sets.pairs(set).unwrap();
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn pairs<'a>(of: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn every_order_and_nesting_of_the_same_pairs_is_the_same_set() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let sets = sets(&arena);
    let set = sets.extend(NONE, &[("a", "1"), ("b", "2")]);
    assert_eq!(read(&sets, set), pairs(&[("a", "1"), ("b", "2")]));
    assert_eq!(sets.extend(NONE, &[("b", "2"), ("a", "1")]), set);
    let b = sets.extend(NONE, &[("b", "2")]);
    assert_eq!(sets.extend(b, &[("a", "1")]), set);
    assert_eq!(sets.extend(set, &[("b", "2")]), set);
    assert_eq!(sets.len(), 2);
}

#[test]
fn inner_value_of_a_key_and_the_last_of_equal_keys_count() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let sets = sets(&arena);
    let outer = sets.extend(NONE, &[("a", "1"), ("b", "2")]);
    let inner = sets.extend(outer, &[("b", "3"), ("c", "5"), ("b", "4")]);
    let expected = pairs(&[("a", "1"), ("b", "4"), ("c", "5")]);
    assert_eq!(read(&sets, inner), expected);
    assert_eq!(read(&sets, outer), pairs(&[("a", "1"), ("b", "2")]));
    assert_eq!(sets.extend(outer, &[]), outer);
}

#[test]
fn empty_value_takes_a_label_off() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let sets = sets(&arena);
    let outer = sets.extend(NONE, &[("a", "1"), ("b", "2")]);
    let inner = sets.extend(outer, &[("a", ""), ("c", "")]);
    assert_eq!(read(&sets, inner), pairs(&[("b", "2")]));
    for _ in 0..2 {
        assert_eq!(sets.extend(inner, &[("b", "")]), NONE);
        assert_eq!(sets.extend(NONE, &[("d", "")]), NONE);
    }
}

#[test]
fn set_met_before_takes_no_more_memory() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let sets = sets(&arena);
    let long = "x".repeat(600);
    let ask = || {
        let outer = sets.extend(NONE, &[("b", "2"), ("a", &long)]);
        sets.extend(outer, &[("c", "3")])
    };
    let (set, used) = (ask(), arena.region().used_bytes());
    assert!((0..100).all(|_| ask() == set));
    assert_eq!(arena.region().used_bytes(), used);
}

#[test]
fn sets_beyond_the_cap_are_lost_and_those_before_it_are_found() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let sets = sets(&arena);
    let nth = |n: u32| sets.extend(NONE, &[("n", &n.to_string())]);
    let first: Vec<u32> = (0..MOST_SETS).map(nth).collect();
    assert!(first.iter().all(|set| *set > LOST));
    assert_eq!(nth(MOST_SETS), LOST);
    assert_eq!(sets.extend(first[7], &[("m", "1")]), LOST);
    assert_eq!(sets.extend(LOST, &[("n", "1")]), LOST);
    assert!((0..MOST_SETS).all(|n| nth(n) == first[n as usize]));
    assert_eq!(sets.len(), MOST_SETS as usize);
}

#[test]
fn ways_beyond_the_cap_still_lead_to_their_sets() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let sets = sets(&arena);
    let set = sets.extend(NONE, &[("a", "1")]);
    for n in 0..MOST_WAYS + 100 {
        assert_eq!(sets.extend(NONE, &[("a", &n.to_string()), ("a", "1")]), set);
    }
    let used = arena.region().used_bytes();
    assert_eq!(sets.extend(NONE, &[("a", "another"), ("a", "1")]), set);
    assert_eq!(arena.region().used_bytes(), used);
    assert_eq!(sets.len(), 1);
}

#[test]
fn bytes_are_capped_too() {
    let arena = Arena::anonymous(1 << 20).unwrap();
    let sets = sets(&arena);
    let used = arena.region().used_bytes();
    let long = "x".repeat(900);
    let count = if cfg!(miri) { 120 } else { 1000 };
    let lost = (0..count)
        .filter(|n| sets.extend(NONE, &[(&n.to_string(), &long)]) == LOST)
        .count();
    assert!(lost > count - 100 && lost < count);
    assert!(arena.region().used_bytes() - used <= (1 << 20) / 16);
}

#[test]
fn too_many_pairs_and_too_long_ones_are_lost() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let sets = sets(&arena);
    let keys: Vec<String> = (0..=MOST_PAIRS).map(|n| format!("k{n}")).collect();
    let many: Vec<(&str, &str)> = keys.iter().map(|k| (&**k, "1")).collect();
    assert!(sets.extend(NONE, &many[1..]) > LOST);
    assert_eq!(sets.extend(NONE, &many), LOST);
    let long = "x".repeat(crate::labels::MOST_BYTES);
    assert_eq!(sets.extend(NONE, &[("k", &long)]), LOST);
    let half = &long[..long.len() / 2];
    let outer = sets.extend(NONE, &[("k", half)]);
    assert!(outer > LOST);
    assert_eq!(sets.extend(outer, &[("l", half)]), LOST);
    assert!(sets.extend(outer, &[("k", half)]) > LOST);
}

#[test]
fn threads_that_race_agree_on_every_set() {
    let arena = Arena::anonymous(ROOM).unwrap();
    let sets = sets(&arena);
    let count = if cfg!(miri) { 5 } else { 500 };
    let found: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let work = || {
            (0..count)
                .map(|n: u32| {
                    let outer = sets.extend(NONE, &[("z", "1")]);
                    sets.extend(outer, &[("n", &n.to_string())])
                })
                .collect()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(sets.len(), count as usize + 1);
}

#[test]
fn no_number_is_believed() {
    let arena = Arena::anonymous(1 << 20).unwrap();
    let sets = sets(&arena);
    let set = sets.extend(NONE, &[("a", "1")]);
    for number in (0..1 << 17).chain([u32::MAX, u32::MAX / 2]) {
        let count = sets.pairs(number).map_or(0, Iterator::count);
        assert!(number != set || count == 1);
    }
}
