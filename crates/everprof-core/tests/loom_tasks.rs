//! Model of a task's cell: the executor's waker is dropped once, woken by whoever wakes, and
//! found by the next poll whatever becomes of the references meanwhile.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use std::task::{RawWaker, RawWakerVTable, Waker};

use everprof_core::tasks::cell::{Attached, Cell};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// An executor's task, as its wakers see it.
#[derive(Default)]
struct Executor {
    wakers: AtomicUsize,
    wakes: AtomicUsize,
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

fn waker(of: &Arc<Executor>) -> Waker {
    of.wakers.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the table keeps the contract; the executor outlives the model's wakers.
    unsafe { Waker::new(std::ptr::from_ref::<Executor>(of).cast(), &TABLE) }
}

fn executor<'e>(data: *const ()) -> &'e Executor {
    // SAFETY: as in `waker`.
    unsafe { &*data.cast() }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    executor(data).wakers.fetch_add(1, Ordering::Relaxed);
    RawWaker::new(data, &TABLE)
}

unsafe fn wake(data: *const ()) {
    executor(data).wakes.fetch_add(1, Ordering::Relaxed);
    executor(data).wakers.fetch_sub(1, Ordering::Relaxed);
}

unsafe fn wake_by_ref(data: *const ()) {
    executor(data).wakes.fetch_add(1, Ordering::Relaxed);
}

unsafe fn drop_waker(data: *const ()) {
    executor(data).wakers.fetch_sub(1, Ordering::Relaxed);
}

/// Wakes with a reference, as a leaf's waker does.
fn spend(cell: &Cell) {
    // SAFETY: the caller's reference, which goes.
    if let Some(released) = unsafe { cell.wake_last() } {
        released.waker.unwrap().wake();
        return;
    }
    // SAFETY: as above: it is there still.
    unsafe { cell.wake_by_ref() };
    // SAFETY: as above.
    drop(unsafe { cell.release() });
}

/// References, and wakes that were counted.
fn left(cell: &Cell) -> (u32, u32) {
    let counts = cell.counts();
    assert!(counts.is_held);
    (counts.references, counts.wakes)
}

#[test]
fn wake_reaches_the_executor_while_the_task_is_polled_again() {
    loom::model(|| {
        let executor = Arc::new(Executor::default());
        let outer = waker(&executor);
        let cell = Arc::new(Cell::new());
        cell.hold();
        // SAFETY: this thread is the poller, here and below.
        assert_eq!(unsafe { cell.attach(&outer) }, Attached::Here);
        cell.add();
        // SAFETY: the poll's reference; the leaf's is left.
        drop(unsafe { cell.release() });
        let other = Arc::clone(&cell);
        let leaf = thread::spawn(move || spend(&other));
        // Another poll, woken or not.
        // SAFETY: as above.
        assert_eq!(unsafe { cell.attach(&outer) }, Attached::Here);
        // SAFETY: the poll's reference.
        drop(unsafe { cell.release() });
        leaf.join().unwrap();
        assert_eq!(executor.wakes.load(Ordering::Relaxed), 1);
        assert_eq!(left(&cell), (0, 1));
        assert_eq!(
            executor.wakers.load(Ordering::Relaxed),
            1,
            "the outer one alone"
        );
        assert!(cell.let_go().is_vacant);
        std::mem::forget(outer);
    });
}

#[test]
fn last_of_two_references_takes_the_waker_out_once() {
    loom::model(|| {
        let executor = Arc::new(Executor::default());
        let outer = waker(&executor);
        let cell = Arc::new(Cell::new());
        cell.hold();
        // SAFETY: this thread is the poller.
        assert_eq!(unsafe { cell.attach(&outer) }, Attached::Here);
        cell.add();
        let other = Arc::clone(&cell);
        let leaf = thread::spawn(move || {
            // SAFETY: the reference that was added.
            let released = unsafe { other.release() };
            (released.waker.is_some(), released.is_vacant)
        });
        let is_vacant = cell.let_go().is_vacant;
        // SAFETY: the poll's reference.
        let released = unsafe { cell.release() };
        let (others, was_vacant) = leaf.join().unwrap();
        assert!(others != released.waker.is_some(), "one of the two");
        let vacant = [is_vacant, was_vacant, released.is_vacant];
        assert_eq!(vacant.iter().filter(|vacant| **vacant).count(), 1);
        drop(released);
        assert_eq!(
            executor.wakers.load(Ordering::Relaxed),
            if others { 2 } else { 1 } - usize::from(others)
        );
        std::mem::forget(outer);
    });
}

#[test]
fn poll_by_another_executor_never_meets_a_waker_that_is_half_gone() {
    loom::model(|| {
        let (first, second) = (Arc::new(Executor::default()), Arc::new(Executor::default()));
        let (one, two) = (waker(&first), waker(&second));
        let cell = Arc::new(Cell::new());
        cell.hold();
        // SAFETY: this thread is the poller, here and below.
        assert_eq!(unsafe { cell.attach(&one) }, Attached::Here);
        let other = Arc::clone(&cell);
        // SAFETY: the only reference, handed to that thread.
        let leaf = thread::spawn(move || drop(unsafe { other.release() }));
        // SAFETY: as above.
        if unsafe { cell.attach(&two) } == Attached::Here {
            // SAFETY: the poll's reference.
            unsafe { cell.wake_by_ref() };
            // SAFETY: as above.
            drop(unsafe { cell.release() });
            assert_eq!(second.wakes.load(Ordering::Relaxed), 1);
        }
        leaf.join().unwrap();
        for executor in [first, second] {
            assert_eq!(executor.wakes.load(Ordering::Relaxed) / 2, 0);
            assert_eq!(executor.wakers.load(Ordering::Relaxed), 1);
        }
        std::mem::forget((one, two));
    });
}

#[test]
fn leaf_joins_the_others_references_or_finds_that_there_are_none() {
    loom::model(|| {
        let executor = Arc::new(Executor::default());
        let outer = waker(&executor);
        let cell = Arc::new(Cell::new());
        cell.hold();
        // SAFETY: this thread is the poller, here and below.
        assert_eq!(unsafe { cell.attach(&outer) }, Attached::Here);
        let other = Arc::clone(&cell);
        let leaf = thread::spawn(move || spend(&other));
        // The next leaf, while the first one's waker is spent.
        if !cell.add_to_others() {
            // SAFETY: as above.
            assert_eq!(unsafe { cell.attach(&outer) }, Attached::Here);
        }
        // SAFETY: the reference that was just taken.
        unsafe { cell.wake_by_ref() };
        // SAFETY: as above.
        drop(unsafe { cell.release() });
        leaf.join().unwrap();
        assert_eq!(executor.wakes.load(Ordering::Relaxed), 2);
        assert_eq!(left(&cell), (0, 2));
        assert_eq!(executor.wakers.load(Ordering::Relaxed), 1);
        std::mem::forget(outer);
    });
}

#[test]
fn whoever_sees_the_last_reference_gone_sees_its_wake_or_that_it_was_dropped() {
    loom::model(|| {
        let executor = Arc::new(Executor::default());
        let outer = waker(&executor);
        let cell = Arc::new(Cell::new());
        cell.hold();
        // SAFETY: this thread is the poller, here and below.
        assert_eq!(unsafe { cell.attach(&outer) }, Attached::Here);
        let other = Arc::clone(&cell);
        let leaf = thread::spawn(move || spend(&other));
        let (references, wakes) = left(&cell);
        assert!(references == 1 || wakes == 1, "a wake that nobody sees");
        // What the next poll stores takes nothing of it back.
        // SAFETY: as above.
        assert_eq!(unsafe { cell.attach(&outer) }, Attached::Here);
        leaf.join().unwrap();
        assert_eq!(left(&cell), (1, 1));
        // SAFETY: the reference that was just taken.
        drop(unsafe { cell.release() });
        assert_eq!(executor.wakers.load(Ordering::Relaxed), 1);
        std::mem::forget(outer);
    });
}
