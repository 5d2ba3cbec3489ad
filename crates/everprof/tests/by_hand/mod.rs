//! An executor that polls when it is told to, and a leaf that keeps the last waker.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

thread_local! {
    static WAKES: Cell<usize> = const { Cell::new(0) };
}

/// Wakes of tasks by this thread.
pub fn wakes() -> usize {
    WAKES.get()
}

#[derive(Default)]
pub struct Woken(AtomicUsize);

impl Woken {
    /// How often.
    pub fn wakes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        WAKES.set(WAKES.get() + 1);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A task that is polled by hand.
pub struct Task<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    woken: Arc<Woken>,
}

impl<T> Task<T> {
    pub fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            future: Box::pin(future),
            woken: Arc::default(),
        }
    }

    pub fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// How often it was woken.
    pub fn wakes(&self) -> usize {
        self.woken.wakes()
    }

    /// Wakers of it that somebody keeps.
    pub fn wakers(&self) -> usize {
        Arc::strong_count(&self.woken) - 1
    }

    /// From now on another task polls it. What the first one is woken by.
    pub fn moved(&mut self) -> Arc<Woken> {
        std::mem::take(&mut self.woken)
    }
}

/// What a leaf and a test share.
#[derive(Clone, Default)]
pub struct Kept(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waker: Mutex<Option<Waker>>,
    is_done: AtomicBool,
}

impl Kept {
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for `wake`.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        poll_fn(move |context| {
            if this.0.is_done.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            this.keep(context.waker());
            Poll::Pending
        })
    }

    pub fn keep(&self, waker: &Waker) {
        let mut kept = self.0.waker.lock().unwrap();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Lets it go on.
    pub fn wake(&self) {
        self.0.is_done.store(true, Ordering::Relaxed);
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }

    pub fn take(&self) -> Option<Waker> {
        self.0.waker.lock().unwrap().take()
    }

    pub fn peek(&self) -> Option<Waker> {
        self.0.waker.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        drop(self.take());
    }
}
