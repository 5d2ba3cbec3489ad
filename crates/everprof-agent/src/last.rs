//! The end of a process whose first thread ends before the others.
//!
//! `main` may leave by `pthread_exit`; the C library then ends the process when its last thread
//! ends, with status 0. Threads of everprof's own do not end, and take no signals, so that such a
//! program would stay until it is killed. Where there are any, one more looks from then on
//! whether the program has a thread left, and calls `exit` as the C library would.
//!
//! Context: cold: `pthread_exit` is not to be called in a handler. Invariant: nothing stands in
//! our frame that the unwinding of the thread would have to destroy.

use std::ffi::c_void;
use std::fs;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use everprof_core::own_threads;

use crate::real::Slot;

type Exit = unsafe extern "C-unwind" fn(*mut c_void) -> !;

static NEXT: Slot<Exit> = Slot::new();

/// The process that has threads of ours; 0: none. A fork's child has a copy of it.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// How often is looked. A process ends by so much later than it would.
const PAUSE: Duration = Duration::from_millis(100);

/// Finds the displaced function.
pub(crate) fn resolve() {
    NEXT.find(&[c"pthread_exit"]);
}

/// Threads of ours will be here until the process ends.
pub(crate) fn has_own_threads() {
    // Relaxed: a number, of which only this thread, the first one, must know.
    PROCESS.store(process::id(), Ordering::Relaxed);
}

/// C's `pthread_exit`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_exit(value: *mut c_void) -> ! {
    if is_first_of_its_process() {
        // Without the thread it would stay, as described above.
        let _ = everprof::own_thread("everprof-last", end_with_the_last);
    }
    let Some(next) = NEXT.get() else {
        // No C library has threads and no end for them.
        process::abort();
    };
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    unsafe { next(value) }
}

fn is_first_of_its_process() -> bool {
    let own = process::id();
    // SAFETY: no preconditions.
    let thread = unsafe { libc::gettid() }.cast_unsigned();
    // Relaxed: see `has_own_threads`.
    thread == own && PROCESS.load(Ordering::Relaxed) == own
}

fn end_with_the_last() {
    loop {
        thread::sleep(PAUSE);
        if are_alone() {
            // SAFETY: handlers at exit are the program's, which has no other thread left.
            unsafe { libc::exit(0) };
        }
    }
}

/// Whether the program has no thread left. One that ends just now is there still: it may have
/// made another one, which the list does not have yet.
fn are_alone() -> bool {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return false;
    };
    tasks.into_iter().all(|task| {
        task.is_ok_and(|task| {
            let name = task.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            id.is_some_and(own_threads::contains) || is_over(&task.path())
        })
    })
}

/// Of the first thread the kernel keeps what is left until the process has ended.
fn is_over(task: &Path) -> bool {
    fs::read_to_string(task.join("stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, state)| state.starts_with('Z'))
    })
}
