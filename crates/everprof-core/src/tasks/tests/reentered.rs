//! An executor whose waker, when it is cloned or dropped, comes back into the poll that has lent
//! it on: no waker of its is lost, or written over while somebody has it.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::LazyLock;
use std::task::{RawWaker, RawWakerVTable};

use super::*;
use crate::tasks::cell::{self, Attached};

/// Counts its wakers that there are.
struct Executor(AtomicUsize);

/// Whose, and what it does.
type Then = (*const Executor, Box<dyn FnOnce()>);

thread_local! {
    /// What is done when the next waker of an executor is cloned or dropped.
    static THEN: RefCell<Option<Then>> = const { RefCell::new(None) };
    /// What leaves and executors of a test keep.
    static KEPT: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
    /// Who comes back while its waker is cloned for a leaf.
    static COMES_BACK: Cell<Option<&'static Executor>> = const { Cell::new(None) };
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, drop_one, |_| (), drop_one);

fn of(data: *const ()) -> &'static Executor {
    // SAFETY: each waker of the table has a static executor.
    unsafe { &*data.cast() }
}

fn clone(data: *const ()) -> RawWaker {
    of(data).acts();
    of(data).0.fetch_add(1, Ordering::Relaxed);
    RawWaker::new(data, &TABLE)
}

fn drop_one(data: *const ()) {
    of(data).0.fetch_sub(1, Ordering::Relaxed);
    of(data).acts();
}

impl Executor {
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn wakers(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn waker(&'static self) -> Waker {
        // SAFETY: the table's functions keep the contract.
        unsafe { Waker::from_raw(clone(ptr::from_ref(self).cast())) }
    }

    fn then(&'static self, then: impl FnOnce() + 'static) {
        THEN.set(Some((self, Box::new(then))));
    }

    fn acts(&self) {
        let is_ours = |then: &mut (*const Self, _)| ptr::eq(then.0, self);
        if let Some((_, then)) = THEN.with_borrow_mut(|then| then.take_if(is_ours)) {
            then();
        }
    }
}

#[test]
fn clone_that_attaches_the_same_cell_makes_one_waker_and_two_references() {
    static EXECUTOR: Executor = Executor::new();
    static CELL: LazyLock<cell::Cell> = LazyLock::new(cell::Cell::new);
    CELL.hold();
    {
        let waker = EXECUTOR.waker();
        EXECUTOR.then(|| {
            let waker = EXECUTOR.waker();
            // SAFETY: this thread is the poller, and this call within the other.
            assert_eq!(unsafe { CELL.attach(&waker) }, Attached::Here);
        });
        // SAFETY: as above.
        assert_eq!(unsafe { CELL.attach(&waker) }, Attached::Here);
    }
    assert_eq!((CELL.counts().references, EXECUTOR.wakers()), (2, 1));
    // SAFETY: of two references.
    drop(unsafe { CELL.release() });
    // SAFETY: the other one.
    drop(unsafe { CELL.release() });
    assert_eq!(EXECUTOR.wakers(), 0);
}

#[test]
fn clone_that_attaches_for_another_executor_leaves_the_cell_to_it() {
    static EXECUTOR: Executor = Executor::new();
    static OTHER: Executor = Executor::new();
    static CELL: LazyLock<cell::Cell> = LazyLock::new(cell::Cell::new);
    CELL.hold();
    {
        let waker = EXECUTOR.waker();
        EXECUTOR.then(|| {
            // SAFETY: this thread is the poller, and this call within the other.
            assert_eq!(unsafe { CELL.attach(&OTHER.waker()) }, Attached::Here);
        });
        // SAFETY: as above.
        assert_eq!(unsafe { CELL.attach(&waker) }, Attached::Busy);
    }
    assert_eq!((EXECUTOR.wakers(), OTHER.wakers()), (0, 1));
    // SAFETY: the only one.
    drop(unsafe { CELL.release() });
    assert_eq!(OTHER.wakers(), 0);
}

fn keep(waker: Waker) {
    KEPT.with_borrow_mut(|kept| kept.push(waker));
}

fn poll_by(executor: &'static Executor, task: &mut Watched<impl Future<Output = ()> + Unpin>) {
    let given = executor.waker();
    let polled = Pin::new(task).poll(&mut Context::from_waker(&given));
    assert!(polled.is_pending());
}

/// Two leaves, which wait. As the first one's waker is made, an executor that comes back
/// clones what the poll has lent.
fn leaves() -> impl Future<Output = ()> + Unpin {
    poll_fn(|context: &mut Context<'_>| {
        let lent = ptr::from_ref(context.waker());
        if let Some(executor) = COMES_BACK.get() {
            executor.then(move || {
                // SAFETY: it is called within this poll.
                keep(unsafe { &*lent }.clone());
            });
        }
        keep(context.waker().clone());
        keep(context.waker().clone());
        Poll::Pending
    })
}

#[test]
fn clone_that_clones_what_was_lent_loses_no_waker() {
    static EXECUTOR: Executor = Executor::new();
    static OTHER: Executor = Executor::new();
    let _alone = alone();
    COMES_BACK.set(Some(&EXECUTOR));
    let mut task = Watched::new(leaves());
    poll_by(&EXECUTOR, &mut task);
    assert_eq!(EXECUTOR.wakers(), 1, "one cell, and three references");
    // Now those of the first executor are kept, and the second comes back.
    COMES_BACK.set(Some(&OTHER));
    poll_by(&OTHER, &mut task);
    assert!(OTHER.wakers() >= 1);
    drop(task);
    drop(KEPT.take());
    assert_eq!((EXECUTOR.wakers(), OTHER.wakers()), (0, 0));
    assert!(look(None).tasks.is_empty());
}

#[test]
fn clone_that_drops_what_leaves_keep_loses_no_waker() {
    static EXECUTOR: Executor = Executor::new();
    static OTHER: Executor = Executor::new();
    let _alone = alone();
    let mut task = Watched::new(leaves());
    poll_by(&EXECUTOR, &mut task);
    OTHER.then(|| drop(KEPT.take()));
    poll_by(&OTHER, &mut task);
    assert_eq!(EXECUTOR.wakers(), 0);
    assert!(OTHER.wakers() >= 1);
    poll_by(&EXECUTOR, &mut task);
    drop(task);
    drop(KEPT.take());
    assert_eq!((EXECUTOR.wakers(), OTHER.wakers()), (0, 0));
}
