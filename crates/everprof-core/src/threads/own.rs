//! Threads of everprof's own: left out of every dump.
//!
//! Context: cold. Invariant: a place holds a thread of ours from its own first to its
//! own last moment, and only that thread writes it meanwhile.
//!
//! Not the mark that leaves a thread's allocations out (`local.excluded`): another
//! thread cannot read it, and a thread of the program bears it while it takes a profile.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// Leaves the thread that makes it out of all dumps until it is dropped.
#[derive(Debug)]
pub struct OwnThread {
    place: Option<&'static AtomicU64>,
    /// Not to be dropped by another thread.
    here: PhantomData<*const ()>,
}

impl OwnThread {
    /// For the calling thread. Beyond 64 threads it has no effect.
    #[must_use]
    pub fn enter() -> Self {
        let process = sys::process_id();
        let this = key(process, sys::thread_id());
        let free = |place: &&AtomicU64| {
            // A fork's child inherits places of threads that it has not. Relaxed, here
            // and below: nothing is published but the number itself.
            let held = place.load(Ordering::Relaxed);
            held >> 32 != u64::from(process)
                && place
                    .compare_exchange(held, this, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        };
        Self {
            place: OWN.iter().find(free),
            here: PhantomData,
        }
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            place.store(0, Ordering::Relaxed);
        }
    }
}

/// Whether `thread` of this `process` is one of ours.
pub(super) fn is_own(process: u32, thread: u32) -> bool {
    let key = key(process, thread);
    OWN.iter().any(|place| place.load(Ordering::Relaxed) == key)
}

/// Process and thread, or 0.
static OWN: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

fn key(process: u32, thread: u32) -> u64 {
    u64::from(process) << 32 | u64::from(thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_ours_while_its_mark_lives() {
        let (process, this) = (sys::process_id(), sys::thread_id());
        assert!(!is_own(process, this));
        let mark = OwnThread::enter();
        assert!(is_own(process, this));
        assert!(!is_own(process, this + 1));
        // Not a thread of a fork's child that happens to have its number.
        assert!(!is_own(process + 1, this));
        drop(mark);
        assert!(!is_own(process, this));
    }
}
