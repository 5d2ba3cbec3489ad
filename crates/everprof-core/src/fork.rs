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

use std::ptr;

use crate::sync::{AtomicPtr, AtomicU32, Ordering};
use crate::sys;

/// Tells the process that armed it from its children.
#[derive(Debug)]
pub struct Guard {
    /// Null: there is none, and the process id decides.
    page: AtomicPtr<AtomicU32>,
    process_id: AtomicU32,
    /// 1 while a child takes note.
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

    /// Makes this process the one that the tables belong to.
    pub fn arm(&self) {
        // Relaxed, throughout: a child has one thread to begin with, and what its
        // parent wrote before the fork is simply there.
        self.process_id.store(sys::process_id(), Ordering::Relaxed);
        if self.page.load(Ordering::Relaxed).is_null()
            && let Some(page) = sys::map_wiped_on_fork()
        {
            self.page.store(page.as_ptr().cast(), Ordering::Relaxed);
        }
        if let Some(mark) = self.mark() {
            mark.store(1, Ordering::Relaxed);
        }
    }

    /// Whether this process is a child that has not taken note.
    #[inline]
    pub fn happened(&self) -> bool {
        match self.mark() {
            Some(mark) => mark.load(Ordering::Relaxed) == 0,
            None => sys::process_id() != self.process_id.load(Ordering::Relaxed),
        }
    }

    /// Runs `note` and arms the guard anew. False: another thread, or the frame
    /// that this signal handler interrupted, is at it.
    #[cold]
    pub fn once(&self, note: impl FnOnce()) -> bool {
        // Acquire and Release: who finds the guard armed sees what `note` wrote.
        if self
            .busy
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            return false;
        }
        note();
        self.arm();
        self.busy.store(0, Ordering::Release);
        true
    }

    fn mark(&self) -> Option<&AtomicU32> {
        let page = self.page.load(Ordering::Relaxed);
        // SAFETY: null, or a page of our own, zeroed or written as an AtomicU32,
        // which is never unmapped.
        unsafe { page.as_ref() }
    }
}
