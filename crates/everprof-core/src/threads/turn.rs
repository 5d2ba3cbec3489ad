//! Turns: overlapping requests queue, and those that queued together share an answer.
//!
//! Context: cold. Invariant: nobody gets an answer whose making had begun before it
//! asked; at most one is being made.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Makes answers, one at a time.
#[derive(Debug)]
pub(super) struct Turn<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    making: bool,
    /// Answers begun so far; the number of the last one.
    begun: u64,
    /// The last answer, while anyone waits who may want it.
    last: Option<(u64, T)>,
    waiting: usize,
}

impl<T: Clone> Turn<T> {
    pub(super) const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                making: false,
                begun: 0,
                last: None,
                waiting: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// An answer that was begun after this call: made by `make`, or by another caller.
    pub(super) fn share(&self, make: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        let wanted = state.begun + 1;
        if state.making {
            state.waiting += 1;
            loop {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                let made = match &state.last {
                    Some((number, answer)) if *number >= wanted => Some(answer.clone()),
                    _ => None,
                };
                if made.is_none() && state.making {
                    continue;
                }
                state.waiting -= 1;
                if let Some(answer) = made {
                    if state.waiting == 0 {
                        state.last = None;
                    }
                    return answer;
                }
                break;
            }
        }
        state.making = true;
        state.begun += 1;
        let number = state.begun;
        drop(state);
        let mut making = Making {
            turn: self,
            made: None,
        };
        let answer = make();
        making.made = Some((number, answer.clone()));
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Whoever panicked had changed all or nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the making of an answer, whether it came to one or panicked.
struct Making<'t, T: Clone> {
    turn: &'t Turn<T>,
    made: Option<(u64, T)>,
}

impl<T: Clone> Drop for Making<'_, T> {
    fn drop(&mut self) {
        let mut state = self.turn.lock();
        state.making = false;
        if state.waiting != 0 {
            state.last = self.made.take();
        }
        drop(state);
        self.turn.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    fn waiting(turn: &Turn<u32>) -> usize {
        turn.lock().waiting
    }

    #[test]
    fn who_asks_during_an_answer_gets_the_next_one_and_shares_it() {
        let turn = Turn::new();
        let made = AtomicU32::new(0);
        let make = || made.fetch_add(1, Ordering::SeqCst) + 1;
        let (go_on, told) = channel::<()>();
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                turn.share(|| {
                    let number = make();
                    told.into_iter().next();
                    number
                })
            });
            while made.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            let others: Vec<_> = (0..5).map(|_| scope.spawn(|| turn.share(make))).collect();
            while waiting(&turn) != 5 {
                thread::yield_now();
            }
            go_on.send(()).unwrap();
            assert_eq!(first.join().unwrap(), 1);
            for other in others {
                assert_eq!(other.join().unwrap(), 2);
            }
        });
        // Nothing is kept.
        assert!(turn.lock().last.is_none());
        assert_eq!(turn.share(make), 3);
    }

    #[test]
    fn an_answer_that_panics_lets_the_next_one_be_made() {
        let turn = Turn::new();
        let failed = catch_unwind(AssertUnwindSafe(|| {
            turn.share(|| -> u32 { panic!("on purpose") })
        }));
        assert!(failed.is_err());
        assert_eq!(turn.share(|| 7), 7);
    }
}
