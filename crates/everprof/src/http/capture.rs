//! Captures under way: one answer for all who ask the same at one time.
//!
//! A profile costs memory and time while it is taken, and scrapers come in
//! herds. The first to ask does the work, those who ask the very same meanwhile
//! wait for its answer, and there is a bound on how many different ones run.
//!
//! Context: cold. Invariant: whoever began a capture ends it, by an answer or
//! by unwinding; nobody waits for ever.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Response;

/// The captures under way.
pub(super) struct Captures {
    most: usize,
    running: Mutex<Vec<(String, Arc<Slot>)>>,
}

#[derive(Default)]
struct Slot {
    answer: Mutex<Option<Response>>,
    done: Condvar,
}

impl Captures {
    /// Lets `most` different captures run at one time.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            running: Mutex::default(),
        }
    }

    /// The answer of `work`, or of the capture of the same key that runs
    /// already. None: too many others run.
    pub(super) fn share(&self, key: &str, work: impl FnOnce() -> Response) -> Option<Response> {
        let mut running = lock(&self.running);
        if let Some((_, slot)) = running.iter().find(|(k, _)| k == key) {
            let slot = Arc::clone(slot);
            drop(running);
            return Some(slot.wait());
        }
        if running.len() >= self.most {
            return None;
        }
        let slot = Arc::new(Slot::default());
        running.push((key.to_owned(), Arc::clone(&slot)));
        drop(running);

        let mut leader = Leader {
            captures: self,
            slot,
            answer: None,
        };
        let answer = work();
        leader.answer = Some(answer.clone());
        drop(leader);
        Some(answer)
    }
}

impl Slot {
    fn wait(&self) -> Response {
        let mut answer = lock(&self.answer);
        loop {
            match &*answer {
                Some(answer) => return answer.clone(),
                None => {
                    answer = self
                        .done
                        .wait(answer)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Ends the capture when dropped, also by unwinding.
struct Leader<'a> {
    captures: &'a Captures,
    slot: Arc<Slot>,
    answer: Option<Response>,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        lock(&self.captures.running).retain(|(_, slot)| !Arc::ptr_eq(slot, &self.slot));
        let answer = self.answer.take();
        *lock(&self.slot.answer) =
            Some(answer.unwrap_or_else(|| Response::error(500, "failed to collect profile")));
        self.slot.done.notify_all();
    }
}

/// A panic elsewhere leaves these lists whole: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn those_who_ask_the_same_share_one_answer_and_others_wait_for_a_place() {
        let captures = Captures::new(1);
        let (go, waits) = channel::<()>();
        let begun = Barrier::new(2);
        thread::scope(|scope| {
            let (captures, begun) = (&captures, &begun);
            let first = scope.spawn(move || {
                captures.share("heap", || {
                    begun.wait();
                    waits.recv().unwrap();
                    Response::text(200, "once")
                })
            });
            begun.wait();
            assert!(
                captures
                    .share("allocs", || unreachable!("no place"))
                    .is_none()
            );
            let second =
                scope.spawn(|| captures.share("heap", || Response::text(500, "worked twice")));
            // The second is either waiting or not yet there; let the first end
            // only when it waits: the slot then has three owners.
            while Arc::strong_count(&lock(&captures.running)[0].1) < 3 {
                thread::yield_now();
            }
            go.send(()).unwrap();
            assert_eq!(first.join().unwrap(), second.join().unwrap());
        });
        assert_eq!(
            captures
                .share("heap", || Response::text(200, "anew"))
                .unwrap()
                .body,
            b"anew"
        );
    }

    #[test]
    fn a_capture_that_unwinds_answers_those_who_wait_and_frees_its_place() {
        let captures = Captures::new(1);
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            captures.share("heap", || std::panic::resume_unwind(Box::new(())))
        }));
        assert!(unwound.is_err());
        assert!(
            captures
                .share("allocs", || Response::text(200, ""))
                .is_some()
        );
    }
}
