//! An executor whose waker, when it is cloned or dropped, comes back into the poll that has lent
//! it on: no waker of its is lost, or written over while somebody has it.

use std::cell::Cell;
use std::ptr;
use std::task::{RawWaker, RawWakerVTable};

use super::*;
use crate::tasks::cell::{self, Attached};

/// What comes back in is this thread's, as the poll is.
#[derive(Default)]
struct Executor {
    /// Wakers of its that there are.
    wakers: Cell<usize>,
    /// What is done when the next waker is cloned or dropped.
    then: Cell<Option<Box<dyn FnOnce()>>>,
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, |data| drop_one(data), |_| (), drop_one);

fn of(data: *const ()) -> &'static Executor {
    // SAFETY: each waker of the table has an executor that was leaked by its test.
    unsafe { &*data.cast() }
}

fn clone(data: *const ()) -> RawWaker {
    let executor = of(data);
    if let Some(then) = executor.then.take() {
        then();
    }
    executor.wakers.set(executor.wakers.get() + 1);
    RawWaker::new(data, &TABLE)
}

fn drop_one(data: *const ()) {
    let executor = of(data);
    executor.wakers.set(executor.wakers.get() - 1);
    if let Some(then) = executor.then.take() {
        then();
    }
}

impl Executor {
    fn leaked() -> &'static Self {
        Box::leak(Box::default())
    }

    fn waker(&'static self) -> Waker {
        // SAFETY: the table's functions keep the contract on the one thread of each test.
        unsafe { Waker::from_raw(clone(ptr::from_ref(self).cast())) }
    }

    fn then(&self, then: impl FnOnce() + 'static) {
        self.then.set(Some(Box::new(then)));
    }
}

#[test]
fn clone_that_attaches_the_same_cell_makes_one_waker_and_two_references() {
    let executor = Executor::leaked();
    let cell: &'static cell::Cell = Box::leak(Box::new(cell::Cell::new()));
    cell.hold();
    {
        let waker = executor.waker();
        executor.then(|| {
            let waker = executor.waker();
            // SAFETY: this thread is the poller, and this call within the other.
            assert_eq!(unsafe { cell.attach(&waker) }, Attached::Here);
        });
        // SAFETY: as above.
        assert_eq!(unsafe { cell.attach(&waker) }, Attached::Here);
    }
    assert_eq!((cell.counts().0, executor.wakers.get()), (2, 1));
    // SAFETY: of two references.
    drop(unsafe { cell.release() });
    // SAFETY: the other one.
    drop(unsafe { cell.release() });
    assert_eq!(executor.wakers.get(), 0);
}

#[test]
fn clone_that_attaches_for_another_executor_leaves_the_cell_to_it() {
    let (executor, other) = (Executor::leaked(), Executor::leaked());
    let cell: &'static cell::Cell = Box::leak(Box::new(cell::Cell::new()));
    cell.hold();
    {
        let waker = executor.waker();
        executor.then(|| {
            // SAFETY: as above.
            assert_eq!(unsafe { cell.attach(&other.waker()) }, Attached::Here);
        });
        // SAFETY: as above.
        assert_eq!(unsafe { cell.attach(&waker) }, Attached::Busy);
    }
    assert_eq!((executor.wakers.get(), other.wakers.get()), (0, 1));
    // SAFETY: the only one.
    drop(unsafe { cell.release() });
    assert_eq!(other.wakers.get(), 0);
}

thread_local! {
    /// What leaves and executors of a test keep.
    static KEPT: std::cell::RefCell<Vec<Waker>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn keep(waker: Waker) {
    KEPT.with_borrow_mut(|kept| kept.push(waker));
}

fn poll_by(executor: &'static Executor, task: &mut Watched<impl Future<Output = ()> + Unpin>) {
    let given = executor.waker();
    let polled = Pin::new(task).poll(&mut Context::from_waker(&given));
    assert!(polled.is_pending());
}

/// Two leaves, which wait. As the first one's waker is made, an executor that is told to come back
/// clones what the poll has lent.
fn leaves(executor: &'static Cell<Option<&'static Executor>>) -> impl Future<Output = ()> + Unpin {
    poll_fn(move |context: &mut Context<'_>| {
        let lent = ptr::from_ref(context.waker());
        if let Some(executor) = executor.get() {
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
    let _alone = alone();
    let (executor, other) = (Executor::leaked(), Executor::leaked());
    let coming_back: &'static Cell<_> = Box::leak(Box::new(Cell::new(Some(executor))));
    let mut task = Watched::new(leaves(coming_back));
    poll_by(executor, &mut task);
    assert_eq!(executor.wakers.get(), 1, "one cell, and three references");
    // Now those of the first executor are kept, and the second comes back.
    coming_back.set(Some(other));
    poll_by(other, &mut task);
    assert!(other.wakers.get() >= 1);
    drop(task);
    KEPT.with_borrow_mut(Vec::clear);
    assert_eq!((executor.wakers.get(), other.wakers.get()), (0, 0));
    assert!(look(None).tasks.is_empty());
}

#[test]
fn clone_that_drops_what_leaves_keep_loses_no_waker() {
    let _alone = alone();
    let (executor, other) = (Executor::leaked(), Executor::leaked());
    let none: &'static Cell<_> = Box::leak(Box::new(Cell::new(None)));
    let mut task = Watched::new(leaves(none));
    poll_by(executor, &mut task);
    other.then(|| KEPT.with_borrow_mut(Vec::clear));
    poll_by(other, &mut task);
    assert_eq!(executor.wakers.get(), 0);
    assert!(other.wakers.get() >= 1);
    poll_by(executor, &mut task);
    drop(task);
    KEPT.with_borrow_mut(Vec::clear);
    assert_eq!((executor.wakers.get(), other.wakers.get()), (0, 0));
}
