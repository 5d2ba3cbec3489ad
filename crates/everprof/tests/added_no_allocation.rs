//! What a program records of its own neither allocates nor locks: it may run beneath a
//! runtime's allocator, while its other threads are stopped.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use everprof::Custom;
use everprof::heap::Managed;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is `System`'s, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(object, layout) }
    }
}

#[global_allocator]
static ALLOC: Counting = Counting;

/// Allocations of this thread while `work` ran.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn managed_heap_records_and_goes_on_without_an_allocation() {
    let heap = Managed::new("silent").unwrap();
    heap.set_period(1);
    let count = allocations(|| {
        for cycle in 0..5 {
            for object in 0..1000 {
                heap.record_alloc(cycle * 1000 + object, 24, Some("Cons"));
            }
            heap.next_cycle();
            heap.flush();
            for object in 0..500 {
                heap.record_sweep_free(cycle * 1000 + object);
            }
            heap.post_sweep();
        }
    });
    assert_eq!(count, 0);
    let objects: u64 = heap
        .records()
        .iter()
        .map(|record| record.in_use_objects())
        .sum();
    assert_eq!(objects, 2500);
}

#[test]
fn custom_profile_counts_without_an_allocation_once_it_is_served() {
    static HANDLES: Custom = Custom::new("handles");
    HANDLES.serve().unwrap();
    drop(HANDLES.add(1));
    let count = allocations(|| {
        for _ in 0..1000 {
            drop(HANDLES.add(1));
        }
    });
    assert_eq!(count, 0);
}
