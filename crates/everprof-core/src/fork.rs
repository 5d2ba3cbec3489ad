//! Fork: noticing that this process is a child with copies of its parent's tables.
//!
//! Context: sampled. Invariant: the page reads 1 in the process that armed the
//! guard, and 0 in a child of it until the child has taken note.
//!
//! Handlers of `pthread_atfork` are not run by a raw `clone`, and registering one
//! may allocate and lock, which cannot be done beneath the allocator. So the
//! kernel is asked to hand every child a zeroed page (`MADV_WIPEONFORK`, Linux
//! 4.14). Where it cannot, the process id is compared, a system call a sample.
//! A `vfork`ed child shares its parent's memory and, rightly, its tables.

use std::ptr::{self, NonNull};

use crate::sync::{AtomicPtr, AtomicU32, Ordering};
use crate::sys;

/// Tells the process that armed it from its children.
#[derive(Debug)]
pub struct Guard {
    /// Null: there is none, and the process id decides.
    page: AtomicPtr<AtomicU32>,
    process_id: AtomicU32,
    /// The process that takes note now, or 0. Not a flag: a child that is forked
    /// in the middle of it must not wait for its parent.
    busy: AtomicU32,
}

impl Guard {
    pub const fn new() -> Self {
        Self {
            page: AtomicPtr::new(ptr::null_mut()),
            process_id: AtomicU32::new(0),
            busy: AtomicU32::new(0),
        }
    }

    /// Makes this process the one that the tables belong to, unless one is already: before
    /// the tables are published, by any number of threads.
    pub fn arm_first(&self) {
        // Relaxed: a number; the tables are published later, by this thread or another that
        // has come through here.
        let _ = self.process_id.compare_exchange(
            0,
            sys::process_id(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if !self.page.load(Ordering::Relaxed).is_null() {
            return;
        }
        let Some(page) = sys::map_wiped_on_fork() else {
            return;
        };
        let mark = page.cast::<AtomicU32>();
        // SAFETY: a fresh page, zeroed and aligned, which nobody else knows.
        // Relaxed: published with the page.
        unsafe { mark.as_ref() }.store(1, Ordering::Relaxed);
        // Release: publishes the mark. Acquire on failure: the other's mark is set, so that
        // whoever learns of the tables from this thread sees it set.
        let first = self.page.compare_exchange(
            ptr::null_mut(),
            mark.as_ptr(),
            Ordering::Release,
            Ordering::Acquire,
        );
        if first.is_err() {
            // SAFETY: the whole mapping made above, which nobody else has learned of.
            unsafe { sys::unmap(page, sys::PAGE_BYTES) };
        }
    }

    /// Makes this process the one that the tables belong to.
    fn arm(&self) {
        // Release, both: publish what `note` wrote. Pair with the Acquire loads
        // in `happened`.
        self.process_id.store(sys::process_id(), Ordering::Release);
        if let Some(mark) = self.mark() {
            mark.store(1, Ordering::Release);
        }
    }

    /// Whether this process is a child that has not taken note.
    #[inline]
    pub fn happened(&self) -> bool {
        match self.mark() {
            Some(mark) => mark.load(Ordering::Acquire) == 0,
            None => sys::process_id() != self.process_id.load(Ordering::Acquire),
        }
    }

    /// Runs `note` and arms the guard anew, unless somebody has just done so.
    /// False: another thread, or the frame that this signal handler interrupted,
    /// is at it.
    #[cold]
    pub fn once(&self, note: impl FnOnce()) -> bool {
        let own = sys::process_id();
        // Relaxed: compared only. Another process's number is that of an
        // ancestor, forked while one of its threads took note.
        let seen = self.busy.load(Ordering::Relaxed);
        // Acquire: pairs with the Release below; what was noted is seen.
        if seen == own
            || self
                .busy
                .compare_exchange(seen, own, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        // Asked again: whoever was at it may have ended since the caller asked.
        if self.happened() {
            note();
            self.arm();
        }
        // Release: pairs with the Acquire above.
        self.busy.store(0, Ordering::Release);
        true
    }

    fn mark(&self) -> Option<&AtomicU32> {
        // Relaxed: stored once, by `arm_first`, before the tables that this guard is
        // about were published; null a moment too long means the process id.
        let page = self.page.load(Ordering::Relaxed);
        // SAFETY: null, or a page of our own, zeroed or written as an AtomicU32,
        // which stays mapped as long as the guard is there.
        unsafe { page.as_ref() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Relaxed: nobody else has the guard.
        if let Some(page) = NonNull::new(self.page.load(Ordering::Relaxed)) {
            // SAFETY: the whole mapping that `arm` made; `mark` borrows the guard.
            unsafe { sys::unmap(page.cast(), sys::PAGE_BYTES) };
        }
    }
}

/// Whether `child` holds in a forked child, which then ends. For tests: of their other
/// threads the child has only what they held, so that `child` neither allocates nor locks.
#[cfg(all(test, target_os = "linux", not(miri), not(everprof_loom)))]
pub(crate) fn holds_in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child does no more than `child`, and ends below.
    let process = unsafe { libc::fork() };
    assert!(process >= 0, "fork");
    if process == 0 {
        let status = i32::from(!child());
        // SAFETY: ends the child without running anybody's destructors.
        unsafe { libc::_exit(status) };
    }
    let mut status = -1;
    // SAFETY: waits for the child made above.
    let ended = unsafe { libc::waitpid(process, &raw mut status, 0) };
    ended == process && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

#[cfg(all(test, target_os = "linux", not(miri), not(everprof_loom)))]
mod tests {
    use super::*;

    fn armed() -> Guard {
        let guard = Guard::new();
        guard.arm_first();
        guard
    }

    #[test]
    fn child_takes_note_once() {
        let guard = armed();
        assert!(holds_in_child(|| {
            let mut noted = 0;
            let first = guard.happened() && guard.once(|| noted += 1);
            // One that asked before the first came to its end.
            let second = guard.once(|| noted += 1);
            first && second && noted == 1 && !guard.happened()
        }));
        assert!(!guard.happened());
    }

    #[test]
    fn child_forked_while_its_parent_takes_note_takes_note_itself() {
        let guard = armed();
        assert!(holds_in_child(|| {
            let mut held = false;
            guard.once(|| {
                held = holds_in_child(|| {
                    let mut noted = 0;
                    let done = guard.happened() && guard.once(|| noted += 1);
                    done && noted == 1 && !guard.happened()
                });
            });
            held
        }));
    }

    #[test]
    fn handler_that_interrupts_the_note_is_told_no() {
        let guard = armed();
        assert!(holds_in_child(|| {
            let mut inner = true;
            let outer = guard.once(|| inner = guard.once(|| ()));
            outer && !inner
        }));
    }
}
