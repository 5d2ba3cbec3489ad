//! A future that is watched: polled as ever, and seen while it waits.
//!
//! Context: the program's own. Invariant: the future is polled exactly when this is, once, and
//! with a waker that wakes exactly what the executor's would.

use std::fmt;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::entry::Kind;
use super::poll::{Outcome, Polling};
use super::task::{Task, is_on};
use super::waker;
use crate::stack::Registers;

/// A future that is watched.
#[must_use = "futures do nothing unless they are polled"]
pub struct Watched<F> {
    /// Pinned whenever this is: never moved out, and dropped in place. Before the task, which
    /// is on record until it is gone.
    future: F,
    task: Task,
}

impl<F> Watched<F> {
    const KIND: Kind = Kind {
        name: std::any::type_name::<F>,
        size_bytes: size_of::<F>(),
    };
}

impl<F: Future> Watched<F> {
    /// Watches `future`, wherever it is polled.
    pub fn new(future: F) -> Self {
        let task = Task::begin(&Self::KIND, false);
        Self { future, task }
    }

    /// Watches `future`, which is given to an executor as a task of its own.
    pub fn root(future: F) -> Self {
        let task = Task::begin(&Self::KIND, true);
        Self { future, task }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is not moved: it is pinned again below, there is no `Drop` of this
        // type, and it is `Unpin` only if `F` is. `task` is never pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let future = unsafe { Pin::new_unchecked(&mut this.future) };
        match this.task.entry() {
            Some(task) if is_on() => {
                let at = std::ptr::from_ref(&*future).addr();
                let registers = Registers::here();
                let mut polling = Polling::NOTHING;
                if !polling.begin(task, context.waker(), at, &registers) {
                    return future.poll(context);
                }
                let lent = waker::lent(task);
                let mut lent = Context::from_waker(&lent);
                // Behind a pointer that the compiler cannot look through, so that the future
                // has a frame, and a name, of its own.
                let poll: fn(Pin<&mut F>, &mut Context<'_>) -> Poll<F::Output> = F::poll;
                let result = black_box(poll)(future, &mut lent);
                polling.end(match result {
                    Poll::Ready(_) => Outcome::Ready,
                    Poll::Pending => Outcome::Pending,
                });
                if result.is_ready() {
                    this.task.end();
                }
                result
            }
            _ => {
                if !is_on() {
                    this.task.note_untracked();
                }
                future.poll(context)
            }
        }
    }
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}
