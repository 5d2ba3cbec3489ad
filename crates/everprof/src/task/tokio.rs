//! Tasks of tokio, watched from their spawn.
//!
//! Context: the program's own. Invariant: what is returned is tokio's own handle.
//!
//! tokio tells of tasks that others spawn by a hook of its builder's, `on_task_spawn`, which is
//! part of `tokio_unstable` (tokio 1.54). What it tells without is how many there are.

use std::future::Future;
use std::sync::Mutex;

use ::tokio::runtime::Handle;
use ::tokio::task::JoinHandle;

use crate::task::root;

/// The runtimes that something was spawned on, by their numbers.
static RUNTIMES: Mutex<Vec<Handle>> = Mutex::new(Vec::new());

/// Runtimes that are remembered. A program has one or two; tests may make one each.
const MOST_RUNTIMES: usize = 64;

/// Spawns a task on the tokio runtime of this thread, and watches it.
///
/// As `tokio::spawn`, whose handle it returns. Tasks that others spawn are not seen: how many
/// there are [`tasks::counts`](crate::tasks::counts) tells.
///
/// # Panics
///
/// Where this thread is in no tokio runtime, as `tokio::spawn` does.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let sum = everprof::task::spawn(async { 1 + 2 });
/// assert_eq!(sum.await.ok(), Some(3));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let handle = Handle::current();
    remember(&handle);
    handle.spawn(root(future))
}

/// Tasks that the runtimes have which were spawned on by [`spawn`]; none, if there were none.
pub(crate) fn alive() -> Option<usize> {
    let runtimes = RUNTIMES.lock().unwrap_or_else(|e| e.into_inner());
    let tasks = runtimes
        .iter()
        .map(|handle| handle.metrics().num_alive_tasks());
    (!runtimes.is_empty()).then(|| tasks.sum())
}

fn remember(handle: &Handle) {
    thread_local! {
        static LAST: std::cell::Cell<Option<::tokio::runtime::Id>> = const { std::cell::Cell::new(None) };
    }
    let id = handle.id();
    // Spawned on already from this thread, last.
    if LAST.replace(Some(id)) == Some(id) {
        return;
    }
    let mut runtimes = RUNTIMES.lock().unwrap_or_else(|e| e.into_inner());
    if runtimes.iter().all(|known| known.id() != id) && runtimes.len() < MOST_RUNTIMES {
        runtimes.push(handle.clone());
    }
}
