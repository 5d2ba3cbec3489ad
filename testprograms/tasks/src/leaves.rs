//! Everything that a task can wait in: leaves and combinators, each in a function of its own.
//!
//! A case makes both ends of what it waits for, and waits for ever. Its function's name must be
//! in the await stack: `waits_in_…`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use crate::{Boxed, BoxedLocal};

mod channels;
mod futures_combinators;
mod futures_leaves;
mod smol;
mod tokio_io;
mod tokio_sync;
mod tokio_tasks;
mod tokio_time;
mod tokio_util;

/// Something to wait in.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its function.
    pub name: &'static str,
    /// Makes it.
    pub start: Start,
    /// In how many places at once it waits: so many stacks are to be seen. Futures that are
    /// polled by a loop stand in one.
    pub stacks: usize,
}

/// How a case is made.
#[derive(Clone, Copy)]
pub enum Start {
    /// Any thread may poll it.
    Shared(fn(Here) -> Boxed),
    /// Only the thread that has made it.
    Local(fn(Here) -> BoxedLocal),
}

/// Those that are woken at once and polled again, so that one who looks seldom finds them
/// waiting.
pub const NEVER_AT_REST: &[&str] = &["waits_in_tokio_yield_now", BUDGET];

/// Only tokio's own executors have a budget: elsewhere this never returns.
pub const BUDGET: &str = "waits_in_tokio_budget";

/// All cases.
pub fn all() -> Vec<Case> {
    [
        tokio_time::CASES,
        tokio_sync::CASES,
        tokio_tasks::CASES,
        tokio_io::CASES,
        tokio_util::CASES,
        futures_leaves::CASES,
        futures_combinators::CASES,
        channels::CASES,
        smol::CASES,
    ]
    .concat()
}

/// Counts the cases that have come to where they wait.
#[derive(Clone, Default)]
pub struct Here(Arc<AtomicUsize>);

impl Here {
    /// How many have come.
    pub fn arrived(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// `future`, which counts as come once it has been polled in vain.
    pub fn waits<F: Future>(&self, future: F) -> Waits<F> {
        Waits {
            future: Box::pin(future),
            here: Some(self.clone()),
        }
    }
}

/// A future that tells when it has first been polled in vain.
pub struct Waits<F> {
    future: Pin<Box<F>>,
    here: Option<Here>,
}

impl<F: Future> Future for Waits<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.future.as_mut().poll(context);
        if polled.is_pending()
            && let Some(here) = self.here.take()
        {
            here.0.fetch_add(1, Ordering::SeqCst);
        }
        polled
    }
}

/// The cases of a file: functions, and in how many places they wait where that is not one.
macro_rules! cases {
    ($($name:ident $(in $stacks:literal)?),* $(,)?) => {
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            name: stringify!($name),
            start: super::Start::Shared(|here| Box::pin($name(here))),
            stacks: 1 $(- 1 + $stacks)?,
        }),*];
    };
}
use cases;
