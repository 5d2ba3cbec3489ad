//! Crew: the threads that answer, one connection at a time each.
//!
//! Context: cold. Invariant: a thread of the crew ends when the crew is dismissed, if not before;
//! no more connections are taken on at a time than [`MOST_CONNECTIONS`].
//!
//! Two stay when they have nothing to do. A thread's first allocation assigns it one of the C
//! library's arenas, another each time where threads are many, and an arena stays as large as it
//! ever was: were each answer made on a thread of its own, a program that is asked again and
//! again would end with eight arenas a processor, each as large as the largest answer.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::start;

/// Connections at one time. Each has a thread; a scraper, a browser and a few
/// people need less than half of them.
const MOST_CONNECTIONS: usize = 16;

/// Threads that wait for the next connection: those of a scraper and of one person.
const MOST_IDLE: usize = 2;

/// What is to be done for one connection.
type Job = Box<dyn FnOnce() + Send>;

/// The threads of one server, and what they share.
#[derive(Debug, Default)]
pub(super) struct Crew {
    inner: Mutex<Inner>,
    dismissed: Condvar,
    /// A job is there, or none ever will be.
    called: Condvar,
}

#[derive(Default)]
struct Inner {
    is_dismissed: bool,
    connections: usize,
    idle: usize,
    /// No more than there are idle.
    jobs: VecDeque<Job>,
}

impl Crew {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one assignment: whole also after a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dismiss(&self) {
        let jobs = {
            let mut inner = self.lock();
            inner.is_dismissed = true;
            std::mem::take(&mut inner.jobs)
        };
        // Not with the lock: each has a place, which is given back.
        drop(jobs);
        self.dismissed.notify_all();
        self.called.notify_all();
    }

    pub(super) fn is_dismissed(&self) -> bool {
        self.lock().is_dismissed
    }

    /// Waits; false: the crew was dismissed.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let waited = self
            .dismissed
            .wait_timeout_while(self.lock(), time, |inner| !inner.is_dismissed);
        !waited
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .is_dismissed
    }

    /// A place for one more connection. `None`: too many.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut inner = self.lock();
        if inner.connections >= MOST_CONNECTIONS {
            return None;
        }
        inner.connections += 1;
        Some(Place(Arc::clone(self)))
    }

    /// Has `job` done by a thread that is idle, or else by a new one.
    ///
    /// # Errors
    ///
    /// Where the system has no thread to give. The job is dropped.
    pub(super) fn call(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let job: Job = Box::new(job);
        {
            let mut inner = self.lock();
            if inner.jobs.len() < inner.idle {
                inner.jobs.push_back(job);
                self.called.notify_one();
                return Ok(());
            }
        }
        let crew = Arc::clone(self);
        start::spawn("everprof-http", move || {
            let mut job = Some(job);
            while let Some(now) = job {
                now();
                job = crew.next();
            }
        })
        .map(drop)
    }

    /// The next job, once there is one. `None`: others wait for it, or there will be none.
    fn next(&self) -> Option<Job> {
        let mut inner = self.lock();
        if inner.idle >= MOST_IDLE {
            return None;
        }
        inner.idle += 1;
        let waited = self
            .called
            .wait_while(inner, |inner| !inner.is_dismissed && inner.jobs.is_empty());
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner);
        inner.idle -= 1;
        inner.jobs.pop_front()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("is_dismissed", &self.is_dismissed)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// A connection's place among [`MOST_CONNECTIONS`].
pub(super) struct Place(Arc<Crew>);

impl Place {
    /// As [`Crew::wait`].
    pub(super) fn wait(&self, time: Duration) -> bool {
        self.0.wait(time)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().connections -= 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::channel;
    use std::thread::{self, ThreadId};

    use super::*;

    /// Has so many jobs done at once, and returns who did them.
    fn at_once(crew: &Arc<Crew>, count: usize) -> Vec<ThreadId> {
        let (tell, told) = channel();
        let gates: Vec<_> = (0..count)
            .map(|_| {
                let (tell, (open, opened)) = (tell.clone(), channel::<()>());
                crew.call(move || {
                    tell.send(thread::current().id()).unwrap();
                    // Until all have begun.
                    let _ = opened.recv();
                })
                .unwrap();
                open
            })
            .collect();
        let who = (0..count).map(|_| told.recv().unwrap()).collect();
        drop(gates);
        who
    }

    fn until_idle(crew: &Crew, count: usize) {
        while crew.lock().idle != count {
            thread::yield_now();
        }
    }

    #[test]
    fn one_job_after_another_is_done_by_the_same_thread() {
        let crew = Arc::new(Crew::default());
        let first = at_once(&crew, 1);
        for _ in 0..5 {
            until_idle(&crew, 1);
            assert_eq!(at_once(&crew, 1), first);
        }
        crew.dismiss();
    }

    #[test]
    fn jobs_at_once_have_a_thread_each_and_few_of_these_stay() {
        let crew = Arc::new(Crew::default());
        let mut who = at_once(&crew, 6);
        who.sort_by_key(|id| format!("{id:?}"));
        who.dedup();
        assert_eq!(who.len(), 6);
        until_idle(&crew, MOST_IDLE);
        // The others have ended.
        while Arc::strong_count(&crew) != 1 + MOST_IDLE {
            thread::yield_now();
        }
        // Those that stay, and four that are new.
        let again = at_once(&crew, 6);
        assert_eq!(
            again.iter().filter(|id| who.contains(id)).count(),
            MOST_IDLE
        );
        crew.dismiss();
    }

    #[test]
    fn dismissed_crew_ends_and_does_no_more() {
        let crew = Arc::new(Crew::default());
        at_once(&crew, 2);
        until_idle(&crew, 2);
        crew.dismiss();
        until_idle(&crew, 0);
        assert!(!crew.wait(Duration::from_secs(60)));
        // Its threads have let go of it.
        while Arc::strong_count(&crew) != 1 {
            thread::yield_now();
        }
    }

    #[test]
    fn connections_have_places_and_give_them_back() {
        let crew = Arc::new(Crew::default());
        let places: Vec<_> = std::iter::from_fn(|| crew.enter()).collect();
        assert_eq!(places.len(), MOST_CONNECTIONS);
        drop(places);
        assert!(crew.enter().is_some());
    }
}
