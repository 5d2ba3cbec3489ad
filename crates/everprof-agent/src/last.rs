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
use std::fs::{self, DirEntry};
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

/// Whether the program has no thread left.
fn are_alone() -> bool {
    is_none_left(only_ours, count)
}

/// Whether `only_ours` lists all threads that there are.
///
/// The kernel's list ends early where the thread that it has come to ends just then, one of
/// ours, say. So the threads are counted, too, while all that were listed are there: they are,
/// as they are listed again. If there are no others then, nobody is left who could make any.
fn is_none_left(
    mut only_ours: impl FnMut() -> Option<Vec<u32>>,
    count: impl FnOnce() -> Option<usize>,
) -> bool {
    only_ours().is_some_and(|listed| count() == Some(listed.len()) && only_ours() == Some(listed))
}

/// The threads that the kernel lists. `None`: one of them is the program's. One that ends just
/// now is that still: it may have made another one, which the list does not have yet.
fn only_ours() -> Option<Vec<u32>> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let ours = |task: DirEntry| {
        let id = task.file_name().to_str()?.parse().ok()?;
        (own_threads::contains(id) || is_over(&task.path())).then_some(id)
    };
    tasks.map(|task| ours(task.ok()?)).collect()
}

/// How many threads there are, what is left of the first one among them.
fn count() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    count.trim().parse().ok()
}

/// Of the first thread the kernel keeps what is left until the process has ended.
fn is_over(task: &Path) -> bool {
    fs::read_to_string(task.join("stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, state)| state.starts_with('Z'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn is_none_left_of(lists: [Option<&[u32]>; 2], count: usize) -> bool {
        let mut lists = lists.into_iter();
        let next = || lists.next().flatten().map(<[u32]>::to_vec);
        is_none_left(next, || Some(count))
    }

    #[test]
    fn list_that_ended_early_is_not_taken_for_all_threads() {
        let (first, whole): (&[u32], &[u32]) = (&[1], &[1, 7]);
        assert!(is_none_left_of([Some(whole), Some(whole)], 2));
        // There was one of the program's behind the end.
        assert!(!is_none_left_of([Some(whole), Some(whole)], 3));
        // 7 had ended: it is not the one that is counted.
        assert!(!is_none_left_of([Some(whole), Some(first)], 2));
        assert!(!is_none_left_of([Some(whole), None], 2));
        assert!(!is_none_left_of([None, Some(whole)], 2));
    }

    #[test]
    fn threads_of_a_program_are_counted_and_not_ours() {
        let (started, is_counted) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                started.wait();
                is_counted.wait();
            });
            started.wait();
            assert!(count().is_some_and(|count| count >= 2));
            assert!(only_ours().is_none() && !are_alone());
            is_counted.wait();
        });
    }
}
