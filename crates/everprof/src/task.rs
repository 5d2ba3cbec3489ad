//! Watching futures: `.watched()`, on any executor.
//!
//! ```
//! use everprof::Watch;
//!
//! async fn serve() {}
//! let task = serve().watched(); // to be polled by any executor
//! # drop(task);
//! ```
//!
//! What a watched future awaits is in the profiles `tasks` and `goroutine`, what its waits
//! take in `taskblock`; [`tasks`](crate::tasks) reads both. It is polled when it would have
//! been anyway, and never for a profile. docs/tasks.md tells what can be seen, and what not.
//!
//! # Overhead
//!
//! An entry of 192 bytes a future, in everprof's own memory, and 16 bytes in the future.
//!
//! Context: the program's own. Invariant: a watched future behaves as if it were not.

use std::future::Future;

use everprof_core::tasks;

pub use everprof_core::tasks::Watched;

#[cfg(feature = "tokio")]
mod tokio;
#[cfg(feature = "tokio")]
pub(crate) use self::tokio::alive as tokio_alive;
#[cfg(feature = "tokio")]
pub use self::tokio::spawn;

/// Without tokio nobody counts its tasks.
#[cfg(not(feature = "tokio"))]
pub(crate) fn tokio_alive() -> Option<usize> {
    None
}

/// Watches a future wherever it is polled: as a task, or as a part of one.
///
/// It bears the labels that are in force here whenever it is polled, and the stack that calls
/// this is shown as that of its maker.
///
/// ```
/// let task = everprof::task::watch(async { 7 });
/// # drop(task);
/// ```
pub fn watch<F: Future>(future: F) -> Watched<F> {
    tasks::Watched::new(future)
}

/// Watches a future that is given to an executor as a task of its own, and that nobody else
/// polls.
///
/// Of such a task it can be told for certain that it will never run again: when it waits and
/// nobody has a waker of it. A part of another future may be polled with that one, woken or
/// not.
///
/// ```
/// # use std::future::Future;
/// # fn spawn(task: impl Future<Output = ()> + Send + 'static) { drop(task) }
/// spawn(everprof::task::root(async { /* … */ }));
/// ```
pub fn root<F: Future>(future: F) -> Watched<F> {
    tasks::Watched::root(future)
}

/// `.watched()` for all futures.
pub trait Watch: Future + Sized {
    /// As [`watch`].
    fn watched(self) -> Watched<Self> {
        tasks::Watched::new(self)
    }
}

impl<F: Future> Watch for F {}
