//! Own threads: which threads of the process are everprof's, and the CPU time they took.
//!
//! Context: cold. Invariant: a thread is in the list from its registration until the
//! value that stands for it is dropped.
//!
//! What a thread does can leave it out by itself (`Local::excluded`). This list is for
//! those who look at threads from outside: a dump shows none of ours, a CPU profile makes no
//! timer for them and takes their time off the process's before it says what is missing.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// The calling thread is everprof's own until this is dropped, on the same thread.
#[derive(Debug)]
#[must_use]
pub struct OwnThread {
    place: Option<&'static Place>,
    /// Not to be dropped by another thread.
    here: PhantomData<*const ()>,
}

#[derive(Debug)]
struct Place {
    /// Process in the upper half, thread in the lower; 0: free. Claimed and freed by
    /// the thread itself. The process, because a fork's child has copies of these.
    id: AtomicU64,
    /// CPU time of the thread when it registered. Written before it is looked at with
    /// any certainty: a profile that reads it between the two is off by that much once.
    since_nanos: AtomicU64,
}

/// The endpoint has one thread and one a connection, at most 16; a profile that the
/// program takes itself needs one. Those that find no place are taken for the program's.
static PLACES: [Place; 32] = [const {
    Place {
        id: AtomicU64::new(0),
        since_nanos: AtomicU64::new(0),
    }
}; 32];

/// CPU time of own threads that are so no more. Any of them adds.
static ENDED_NANOS: AtomicU64 = AtomicU64::new(0);

impl OwnThread {
    /// Registers the calling thread. One that is registered already stays so.
    pub fn register() -> Self {
        let tid = sys::thread_id();
        if contains(tid) {
            return Self {
                place: None,
                here: PhantomData,
            };
        }
        let process = sys::process_id();
        let place = PLACES.iter().find(|place| {
            // Relaxed, here and below: each word stands for itself.
            let seen = place.id.load(Ordering::Relaxed);
            let is_free = seen == 0 || seen >> 32 != u64::from(process);
            is_free
                && place
                    .id
                    .compare_exchange(seen, id(process, tid), Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        });
        if let Some(place) = place {
            let now = sys::thread_cpu_nanos(tid).unwrap_or(0);
            place.since_nanos.store(now, Ordering::Relaxed);
        }
        Self {
            place,
            here: PhantomData,
        }
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // Relaxed, both: a profile that reads between the two is off by this thread once.
            ENDED_NANOS.fetch_add(place.cpu_nanos(), Ordering::Relaxed);
            place.id.store(0, Ordering::Relaxed);
        }
    }
}

impl Place {
    /// CPU time that the thread took since it registered.
    fn cpu_nanos(&self) -> u64 {
        let id = self.id.load(Ordering::Relaxed);
        if id >> 32 != u64::from(sys::process_id()) {
            return 0;
        }
        let since = self.since_nanos.load(Ordering::Relaxed);
        sys::thread_cpu_nanos(id as u32).map_or(0, |now| now.saturating_sub(since))
    }
}

/// Whether a thread of this process is everprof's own.
#[must_use]
pub fn contains(tid: u32) -> bool {
    contains_of(sys::process_id(), tid)
}

/// As [`contains`], of this process, whose number is a system call for whoever asks of
/// thousands of threads.
#[must_use]
pub(crate) fn contains_of(process: u32, tid: u32) -> bool {
    let id = id(process, tid);
    PLACES
        .iter()
        .any(|place| place.id.load(Ordering::Relaxed) == id)
}

/// The other threads of this process, as the kernel lists them; none where it does not.
#[must_use]
pub fn others() -> Vec<u32> {
    let mut listed = sys::thread_ids().unwrap_or_default();
    listed.retain(|tid| !contains(*tid));
    listed
}

/// CPU time that own threads have taken in all.
#[must_use]
pub fn cpu_nanos() -> u64 {
    PLACES
        .iter()
        .fold(ENDED_NANOS.load(Ordering::Relaxed), |sum, place| {
            sum.wrapping_add(place.cpu_nanos())
        })
}

fn id(process: u32, tid: u32) -> u64 {
    u64::from(process) << 32 | u64::from(tid)
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn thread_is_ours_from_registration_to_its_end() {
        let tid = sys::thread_id();
        assert!(!contains(tid));
        let outer = OwnThread::register();
        assert!(contains(tid));
        drop(OwnThread::register());
        assert!(contains(tid), "the inner one changes nothing");
        drop(outer);
        assert!(!contains(tid));
    }

    #[test]
    fn time_of_own_threads_is_kept_when_they_end() {
        let before = cpu_nanos();
        let thread = std::thread::spawn(|| {
            let own = OwnThread::register();
            let tid = sys::thread_id();
            let began = sys::thread_cpu_nanos(tid).unwrap_or(0);
            while sys::thread_cpu_nanos(tid).unwrap_or(0) < began + 3_000_000 {
                std::hint::spin_loop();
            }
            drop(own);
        });
        assert!(thread.join().is_ok());
        assert!(cpu_nanos() - before >= 3_000_000);
    }
}
