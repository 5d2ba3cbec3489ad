//! Claims about arenas: what they hand out, and what they refuse.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::sync::AtomicU64;

#[test]
fn layout_of_the_header_is_fixed() {
    assert_eq!(mem::size_of::<Header>(), 296);
    assert_eq!(mem::offset_of!(Header, roots), 24);
    assert_eq!(mem::offset_of!(Header, process_id), 152);
}

#[test]
fn records_do_not_overlap_and_are_zero() {
    let arena = Arena::anonymous(LEAST_BYTES).unwrap();
    let region = arena.region();
    let first = region.alloc::<AtomicU64>(24).unwrap();
    let second = region.alloc_array::<u64>(2).unwrap();
    assert_eq!(second.raw() - first.raw(), 4);
    assert_eq!(region.array::<u64>(second, 2).unwrap(), [0, 0]);
}

#[test]
fn full_arena_says_none_and_stays_full() {
    let arena = Arena::anonymous(LEAST_BYTES).unwrap();
    let region = arena.region();
    while region.alloc_array::<u64>(100).is_some() {}
    let used = region.used_bytes();
    assert!(used <= region.capacity_bytes());
    assert!(region.alloc_array::<u64>(1 << 40).is_none());
    assert_eq!(region.used_bytes(), used);
}

#[test]
fn offsets_out_of_bounds_are_refused() {
    let arena = Arena::anonymous(LEAST_BYTES).unwrap();
    let region = arena.region();
    let at = |raw| Offset::from_raw(raw).unwrap();
    assert!(region.get::<AtomicU64>(at(u32::MAX)).is_none());
    assert!(
        region.get::<AtomicU64>(at(1)).is_none(),
        "the header is no record"
    );
    assert!(region.array::<u64>(at(100), usize::MAX / 4).is_none());
}

#[test]
fn first_root_wins() {
    let arena = Arena::anonymous(LEAST_BYTES).unwrap();
    let region = arena.region();
    assert_eq!(region.root(Root::Modules), None);
    let (a, b) = (
        region.alloc::<AtomicU64>(0).unwrap(),
        region.alloc::<AtomicU64>(0).unwrap(),
    );
    assert_eq!(region.set_root(Root::Modules, a), Some(a));
    assert_eq!(region.set_root(Root::Modules, b), Some(a));
    assert_eq!(region.root(Root::Modules), Some(a));
}

#[test]
fn two_arenas_do_not_know_each_other() {
    let (one, two) = (Arena::anonymous(0).unwrap(), Arena::anonymous(0).unwrap());
    one.region().alloc::<AtomicU64>(0).unwrap();
    assert!(one.region().used_bytes() > two.region().used_bytes());
}
