//! Ending: how a trace is asked to end, and how whoever asks learns that it is written.
//!
//! ```text
//!  stop, exit, _exit ──ask(n)──→ asked ≥ n ──→ the thread that writes trace n
//!        ▲                                              │ the last bytes are out
//!        └────────── wait(n) ←── written ≥ n ←──────────┘
//! ```
//!
//! Context: signal: no allocation, no lock, nothing that could be freed meanwhile. `sleep` is
//! the writer's.
//! Invariant: both words only grow, and have numbers of traces in them: who asks for the end
//! of one that is over asks for nothing.

use std::time::Duration;

use crate::sync::{AtomicU32, Ordering};
use crate::sys;

/// Both words of a tracer. All bits zero at first: no trace has the number 0.
#[derive(Debug)]
pub(super) struct Ending {
    /// The newest trace that is to end. Written by `ask`; the writer sleeps on it.
    asked: AtomicU32,
    /// The newest trace of which nothing more will be written. Written by `written`; who waits
    /// for the end sleeps on it.
    written: AtomicU32,
}

impl Ending {
    pub(super) const fn new() -> Self {
        Self {
            asked: AtomicU32::new(0),
            written: AtomicU32::new(0),
        }
    }

    /// Asks the writer of `trace` to come to an end.
    pub(super) fn ask(&self, trace: u32) {
        // Release: what was done before is recorded by then. Pairs with the Acquire in
        // `is_asked`.
        self.asked.fetch_max(trace, Ordering::Release);
        sys::wake_all(&self.asked);
    }

    /// Whether somebody wants `trace` to end.
    pub(super) fn is_asked(&self, trace: u32) -> bool {
        // Acquire: pairs with the Release in `ask`.
        self.asked.load(Ordering::Acquire) >= trace
    }

    /// Sleeps until somebody wants `trace` to end, for so long at most; now and then shorter.
    pub(super) fn sleep(&self, trace: u32, most: Duration) {
        // Relaxed: `is_asked` is asked again.
        let seen = self.asked.load(Ordering::Relaxed);
        if seen < trace {
            sys::sleep_while(&self.asked, seen, most);
        }
    }

    /// Says that nothing more of `trace` will be written.
    pub(super) fn written(&self, trace: u32) {
        // Release: what was written is, for who waits. Pairs with the Acquire in `wait`.
        self.written.fetch_max(trace, Ordering::Release);
        sys::wake_all(&self.written);
    }

    /// Waits until all of `trace` is written; false: it was not, for so long.
    pub(super) fn wait(&self, trace: u32, patience: Duration) -> bool {
        let began = sys::monotonic_nanos();
        loop {
            // Acquire: pairs with the Release in `written`.
            let seen = self.written.load(Ordering::Acquire);
            if seen >= trace {
                return true;
            }
            let waited = Duration::from_nanos(sys::monotonic_nanos().saturating_sub(began));
            match patience.checked_sub(waited) {
                None | Some(Duration::ZERO) => return false,
                Some(left) => sys::sleep_while(&self.written, seen, left),
            }
        }
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn who_asks_wakes_the_writer_and_learns_when_it_is_done() {
        let ending = Ending::new();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !ending.is_asked(7) {
                    ending.sleep(7, LONG);
                }
                ending.written(7);
            });
            ending.ask(7);
            assert!(ending.wait(7, LONG));
        });
    }

    #[test]
    fn end_of_an_older_trace_is_no_end_of_this_one() {
        let ending = Ending::new();
        ending.ask(6);
        assert!(!ending.is_asked(7));
        ending.written(6);
        assert!(!ending.wait(7, Duration::from_millis(1)));
        ending.ask(7);
        // As whoever stops a trace that came to its end by itself may, late.
        ending.ask(6);
        assert!(ending.is_asked(7));
    }
}
