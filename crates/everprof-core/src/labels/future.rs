//! A future whose labels are in force whenever it is polled, on whichever thread.
//!
//! Context: the program's own. Invariant: after a poll, returned or unwound, the
//! thread's labels are those of before.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Labels, enter};

/// A future with labels of its own.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Labelled<F> {
    labels: Labels,
    /// Pinned whenever this is: never moved out, and dropped in place.
    future: F,
}

impl<F> Labelled<F> {
    /// `future`, to be polled with `labels`.
    pub fn new(future: F, labels: Labels) -> Self {
        Self { labels, future }
    }
}

impl<F: Future> Future for Labelled<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _back = Back(enter(self.labels));
        // SAFETY: `future` is pinned with `self`: nothing moves it out, there is no
        // `Drop`, and `Unpin` is derived, so that it is there only if `F` has it.
        let future = unsafe { self.map_unchecked_mut(|labelled| &mut labelled.future) };
        future.poll(context)
    }
}

/// Puts the labels of before back, also when the poll unwinds.
struct Back(Labels);

impl Drop for Back {
    fn drop(&mut self) {
        enter(self.0);
    }
}
