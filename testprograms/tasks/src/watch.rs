//! The one place that knows of everprof: how a future is watched, and how it is asked for.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use everprof::tasks::{Leak, TaskRecord};

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
            Self::Yes | Self::Dumped => Box::pin(everprof::task::watch(future)),
        }
    }

    /// The same for one that is spawned as it is.
    pub fn over_root(self, future: impl Future<Output = ()> + Send + 'static) -> Boxed {
        match self {
            Self::No => Box::pin(future),
            Self::Yes | Self::Dumped => Box::pin(everprof::task::root(future)),
        }
    }

    /// The same for a future of one thread.
    pub fn over_local(self, future: impl Future<Output = ()> + 'static) -> BoxedLocal {
        match self {
            Self::No => Box::pin(future),
            Self::Yes | Self::Dumped => Box::pin(everprof::task::watch(future)),
        }
    }

    /// Takes a dump, if dumps are taken: for the midst of a poll.
    pub fn may_dump(self) {
        if self == Self::Dumped {
            let _ = everprof::tasks::records();
        }
    }
}

/// What is said of the tasks that bear a label: how much each looks leaked.
pub fn verdicts(label: &str, value: &str) -> Vec<Leak> {
    let bears = |task: &TaskRecord| task.labels.iter().any(|(k, v)| k == label && v == value);
    // Suspicion is sought where it is asked for, and nowhere else. What calls before have left on
    // this stack may still point to what they had; an endpoint has a thread of its own.
    overwrite_the_stack();
    let leaked = everprof::tasks::leaked();
    let verdict = |task: &TaskRecord| {
        let found = leaked.iter().find(|found| found.id == task.id);
        found.map_or(task.leak, |found| found.leak)
    };
    let tasks = everprof::tasks::records();
    tasks
        .iter()
        .filter(|task| bears(task))
        .map(verdict)
        .collect()
}

#[inline(never)]
fn overwrite_the_stack() {
    std::hint::black_box(&mut [0_u8; 64 << 10]);
}

/// Dumps that are taken one after the other until they are told to end.
pub struct Dumps {
    end: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Dumps {
    /// Starts to take them.
    pub fn all_the_time() -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let told = end.clone();
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !told.load(Ordering::SeqCst) {
                // With what is searched for leaks, and without.
                let _ = everprof::tasks::records();
                let _ = everprof::tasks::leaked();
                for name in ["tasks", "taskblock"] {
                    let taken = everprof::profile::lookup(name);
                    assert!(taken.is_some(), "there is no profile `{name}`");
                }
                count += 1;
            }
            count
        });
        Self { end, thread }
    }

    /// Ends; how many were taken.
    pub fn end(self) -> u64 {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().expect("a dump does not panic")
    }
}

/// A dump as a person reads it.
pub fn dump_as_text() -> String {
    let response = everprof::handle(&everprof::Request::get("/debug/pprof/tasks?debug=2"));
    String::from_utf8_lossy(&response.body).into_owned()
}
