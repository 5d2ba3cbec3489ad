//! Tasks of tokio, watched from their spawn.
//!
//! Context: the program's own. Invariant: what is returned is tokio's own handle.
//!
//! tokio tells of tasks that others spawn by a hook of its builder's, `on_task_spawn`, which is
//! part of `tokio_unstable` (tokio 1.54). What it tells without is how many there are.

use std::cell::Cell;
use std::future::Future;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use ::tokio::runtime::{Handle, Id};
use ::tokio::task::JoinHandle;
use everprof_core::per_process::PerProcess;

use crate::task::root;

type Runtimes = Mutex<Vec<Handle>>;

/// The runtimes that something was spawned on and that may have tasks still. A handle keeps what
/// a runtime leaves behind from being freed, and none of tokio's does without, so that those
/// with no task are let go when the next one is remembered, and whenever tasks are counted.
///
/// Of this process alone: a thread that a fork's child does not have may hold the lock.
static RUNTIMES: PerProcess<Runtimes> = PerProcess::new();

/// How often some were let go: what a thread remembers of before is void. Written under the
/// lock of the runtimes.
static LET_GO: AtomicU32 = AtomicU32::new(0);

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
    let task = handle.spawn(root(future));
    // Behind the spawn: a runtime that has a task is not let go.
    remember(&handle);
    task
}

/// Tasks that the runtimes have which were spawned on by [`spawn`]; none, if there were none.
pub(crate) fn alive() -> Option<usize> {
    let runtimes = RUNTIMES.get()?;
    let mut handles = runtimes.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tasks = 0;
    let gone = take_out(&mut handles, |handle| {
        let of_it = handle.metrics().num_alive_tasks();
        tasks += of_it;
        of_it == 0
    });
    drop(handles);
    // Without the lock: what a runtime has to drop is not ours.
    drop(gone);
    Some(tasks)
}

fn remember(handle: &Handle) {
    thread_local! {
        static LAST: Cell<Option<(Id, u32, *const Runtimes)>> = const { Cell::new(None) };
    }
    let runtimes = RUNTIMES.get_or_make();
    // Relaxed, here and below: who lets it go just now saw no task of it; the next spawn
    // remembers it again.
    let let_go = LET_GO.load(Ordering::Relaxed);
    // A fork's child has others, and remembers it anew.
    let this = Some((handle.id(), let_go, ptr::from_ref(runtimes)));
    // Spawned on already from this thread, last.
    if LAST.replace(this) == this {
        return;
    }
    let mut handles = runtimes.lock().unwrap_or_else(PoisonError::into_inner);
    let gone = take_out(&mut handles, |known| {
        known.id() != handle.id() && known.metrics().num_alive_tasks() == 0
    });
    if handles.iter().all(|known| known.id() != handle.id()) && handles.len() < MOST_RUNTIMES {
        handles.push(handle.clone());
    }
    drop(handles);
    drop(gone);
}

/// Takes out those that are to go.
fn take_out(runtimes: &mut Vec<Handle>, mut is_to_go: impl FnMut(&Handle) -> bool) -> Vec<Handle> {
    let gone: Vec<_> = runtimes.extract_if(.., |handle| is_to_go(handle)).collect();
    if !gone.is_empty() {
        // Relaxed: see `remember`.
        LET_GO.fetch_add(1, Ordering::Relaxed);
    }
    gone
}
