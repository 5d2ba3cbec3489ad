//! A watchdog: whoever does not feed it in time has the stacks of all threads written.
//!
//! Context: cold; [`Watchdog::feed`] is a clock and a store.
//! Invariant: one dump a hunger, however long it lasts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Speaker, tell, this_thread};
use crate::error::{Error, Kind};
use crate::start;

/// Watches until it is dropped. See [`watchdog`].
#[derive(Debug)]
#[must_use = "it watches until it is dropped"]
pub struct Watchdog {
    watch: Arc<Watch>,
}

/// Writes the stacks of all threads to stderr whenever [`Watchdog::feed`] was not called
/// for `timeout`: once, and again when it was fed and then starves anew.
///
/// The thread that called this comes first in what is written: let it be the one that
/// feeds. Nothing is ended; what hangs goes on hanging.
///
/// # Errors
///
/// Where no thread can be started.
///
/// # Overhead
///
/// A thread of everprof's own that sleeps. Feeding reads a clock and stores a number.
///
/// ```
/// let watchdog = everprof::stacks::watchdog(std::time::Duration::from_secs(10))?;
/// for _request in 0..3 {
///     watchdog.feed();
///     // … what must not take ten seconds …
/// }
/// # Ok::<(), everprof::Error>(())
/// ```
pub fn watchdog(timeout: Duration) -> Result<Watchdog, Error> {
    let owner = this_thread();
    begin(timeout, move || tell(Speaker::Watchdog, owner))
}

fn begin(timeout: Duration, starved: impl FnMut() + Send + 'static) -> Result<Watchdog, Error> {
    let watch = Arc::new(Watch {
        start: Instant::now(),
        timeout,
        fed_nanos: AtomicU64::new(0),
        over: Mutex::new(false),
        told: Condvar::new(),
    });
    let watching = Arc::clone(&watch);
    let begun = start::spawn("everprof-watch", move || watching.run(starved));
    match begun {
        Ok(_) => Ok(Watchdog { watch }),
        Err(error) => {
            let text = format!("no watchdog: its thread cannot be started: {error}");
            Err(Error::new(Kind::Io, text).caused_by(error))
        }
    }
}

impl Watchdog {
    /// All is well: the time begins anew. From any thread.
    pub fn feed(&self) {
        // Relaxed: a number of its own.
        let now = self.watch.now_nanos();
        self.watch.fed_nanos.store(now, Ordering::Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let over = self.watch.over.lock();
        *over.unwrap_or_else(PoisonError::into_inner) = true;
        self.watch.told.notify_one();
    }
}

#[derive(Debug)]
struct Watch {
    start: Instant,
    timeout: Duration,
    /// Nanoseconds after `start`. Written by who feeds, read by the watch.
    fed_nanos: AtomicU64,
    /// Whether the watchdog was dropped.
    over: Mutex<bool>,
    told: Condvar,
}

impl Watch {
    fn run(&self, mut starved: impl FnMut()) {
        let mut told_of = None;
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            // Relaxed: as in `feed`.
            let fed_nanos = self.fed_nanos.load(Ordering::Relaxed);
            let hungry = Duration::from_nanos(self.now_nanos().saturating_sub(fed_nanos));
            let left = match self.timeout.checked_sub(hungry) {
                Some(left) if !left.is_zero() => left,
                _ if told_of == Some(fed_nanos) => self.timeout,
                _ => {
                    told_of = Some(fed_nanos);
                    drop(over);
                    starved();
                    over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            };
            // Where the timeout is shorter than a millisecond: it need not be that exact.
            let left = left.max(Duration::from_millis(1));
            let waited = self.told.wait_timeout(over, left);
            over = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn now_nanos(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn each_hunger_is_told_once_and_none_after_the_end() {
        let (tell, told) = channel();
        let watchdog = begin(Duration::from_millis(1), move || tell.send(()).unwrap()).unwrap();
        told.recv().unwrap();
        // Fed never since: nothing more may come, however slow this machine is.
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
        watchdog.feed();
        told.recv().unwrap();
        drop(watchdog);
        // The watch ends, and drops its end.
        assert!(told.recv().is_err());
    }

    #[test]
    fn who_is_fed_in_time_is_silent() {
        let (tell, told) = channel::<()>();
        let watchdog = begin(Duration::from_secs(3600), move || tell.send(()).unwrap()).unwrap();
        watchdog.feed();
        drop(watchdog);
        assert!(told.recv().is_err());
    }
}
