//! Arrivals: timers that new threads made for themselves, on their way to the session.
//!
//! Context: sampled to push, cold to take. Nobody waits.
//! Invariant: a timer that was pushed is taken exactly once.

use super::timer::Timer;
use crate::sync::{AtomicU64, Ordering};

/// A thread may look at so many places before it gives up.
const PROBES: usize = 32;

/// Threads that begin between two looks of the session, which are 5 ms apart: no more
/// than a tenth of these, on any machine we know.
const PLACES: usize = 512;

/// What was pushed and not yet taken. All zero is its first state: nothing.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Thread in the upper half, timer in the lower; 0: free. Threads fill free places,
    /// the session empties them.
    places: [AtomicU64; PLACES],
}

impl Arrivals {
    pub(super) const fn new() -> Self {
        Self {
            places: [const { AtomicU64::new(0) }; PLACES],
        }
    }

    /// False: there is no room.
    pub(super) fn push(&self, tid: u32, timer: Timer) -> bool {
        let value = u64::from(tid) << 32 | u64::from(timer.raw());
        // Neighbours in time have neighbouring numbers, and so places of their own.
        (0..PROBES).any(|probe| {
            let at = (tid as usize).wrapping_add(probe) % PLACES;
            self.places.get(at).is_some_and(|place| {
                // Relaxed: the word is all there is; timers are the kernel's.
                place
                    .compare_exchange(0, value, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            })
        })
    }

    /// Empties all places.
    pub(super) fn take(&self, mut visit: impl FnMut(u32, Timer)) {
        for place in &self.places {
            // Relaxed: as above. Looked at first, so as not to write 512 words each time.
            if place.load(Ordering::Relaxed) != 0 {
                let value = place.swap(0, Ordering::Relaxed);
                visit((value >> 32) as u32, Timer::from_raw(value as u32));
            }
        }
    }

    /// Forgets everything: in a fork's child, where these timers are not.
    pub(super) fn clear(&self) {
        self.take(|_, _| ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_taken_once() {
        let arrivals = Box::new(Arrivals::new());
        assert!(arrivals.push(7, Timer::from_raw(3)));
        // The same place.
        assert!(arrivals.push(7 + PLACES as u32, Timer::from_raw(0)));
        let mut taken = Vec::new();
        arrivals.take(|tid, timer| taken.push((tid, timer.raw())));
        assert_eq!(taken, [(7, 3), (7 + PLACES as u32, 0)]);
        arrivals.take(|_, _| panic!("nothing is left"));
    }

    #[test]
    fn who_finds_no_room_is_told() {
        let arrivals = Box::new(Arrivals::new());
        let pushed = (0..2 * PROBES).filter(|_| arrivals.push(1, Timer::from_raw(1)));
        assert_eq!(pushed.count(), PROBES);
    }
}
