//! Sends: no question is on its way to a thread that is about to call `exec`.
//!
//! Context: any; `before_exec` waits, 10 ms at most.
//! Invariant: from where an [`Exec`] is made until it is dropped no question is sent,
//! and those that were sent to its thread before have been answered.
//!
//! Signals that are pending outlive `exec`, handlers do not. A question that finds its thread
//! in `execve` would be delivered to the next program, by the default action of a realtime
//! signal: its end. (Timers' signals are taken back by the kernel.)
//!
//! One word has both sides, so that no order between two words has to be argued: how many
//! collectors send, and above that the process of whose threads one is about to call `exec`.
//!
//! | step | who | does |
//! |---|---|---|
//! | enter | collector | `word += 1`; may send unless its own process is named, else leaves |
//! | leave | collector | `word −= 1` |
//! | begin | before `exec` | names its process; waits until no collector is inside; makes a system call, at whose end the kernel delivers what is pending |
//! | end | `exec` has failed | names none |
//!
//! The process is named because a child of `vfork`, which shares this word, calls `exec` and
//! never comes back to it. Two threads that call it at once end each other's, as only one of
//! them fails. The wait has an end because a handler that interrupted the collector in between
//! may be who calls `exec`. A program that makes the system call itself is not seen.

use crate::sync::{AtomicU64, Ordering};

/// All zero at first: nobody.
#[derive(Debug)]
pub(super) struct Sends {
    /// Collectors that send in the lower half, a process in the upper; 0: none.
    word: AtomicU64,
}

/// A collector may send as long as there is one.
#[derive(Debug)]
#[must_use]
pub(super) struct Sending<'s>(&'s Sends);

/// No collector of this process sends as long as there is one.
#[derive(Debug)]
#[must_use]
pub struct Exec<'s> {
    sends: &'s Sends,
    process: u32,
}

const SENDING: u64 = u32::MAX as u64;

impl Sends {
    pub(super) const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
        }
    }

    /// `None`: a thread of `process` is about to call `exec`.
    pub(super) fn enter(&self, process: u32) -> Option<Sending<'_>> {
        // Relaxed: all changes of the word have one order, and what is sent is the
        // kernel's. Either this sees the exec, or the exec sees this.
        let before = self.word.fetch_add(1, Ordering::Relaxed);
        let sending = Sending(self);
        (before >> 32 != u64::from(process)).then_some(sending)
    }

    /// Lets no collector of `process` send any more; `pause` is called while one does.
    pub(super) fn before_exec(&self, process: u32, mut pause: impl FnMut()) -> Exec<'_> {
        self.name(|_| process);
        for _ in 0..PAUSES {
            // Acquire: pairs with the Release of `Sending`: its call is over, and the
            // signal is pending.
            if self.word.load(Ordering::Acquire) & SENDING == 0 {
                break;
            }
            pause();
        }
        Exec {
            sends: self,
            process,
        }
    }

    fn name(&self, named: impl Fn(u32) -> u32) {
        // Relaxed, both: as in `enter`. It always comes to an end: nothing is refused.
        let _ = self
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let process = named((word >> 32) as u32);
                Some(u64::from(process) << 32 | word & SENDING)
            });
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `before_exec`.
        self.0.word.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Exec<'_> {
    fn drop(&mut self) {
        let ours = self.process;
        self.sends
            .name(|process| if process == ours { 0 } else { process });
    }
}

/// Of 50 µs or more. A call takes a microsecond; a collector that has lost its processor in
/// between may take longer than all of them together, on a machine with no time to spare.
const PAUSES: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sends_from_before_exec_until_it_has_failed() {
        let sends = Sends::new();
        drop(sends.enter(7));
        let exec = sends.before_exec(7, || panic!("nobody is inside"));
        assert!(sends.enter(7).is_none());
        drop(exec);
        assert!(sends.enter(7).is_some());
    }

    #[test]
    fn child_that_shares_the_word_and_is_gone_holds_nobody_up() {
        let sends = Sends::new();
        std::mem::forget(sends.before_exec(8, || panic!("nobody is inside")));
        assert!(sends.enter(7).is_some());
        drop(sends.before_exec(7, || panic!("nobody is inside")));
        assert!(sends.enter(7).is_some());
    }

    #[test]
    fn exec_waits_for_who_sends_but_not_for_ever() {
        let sends = Sends::new();
        let mut sending = sends.enter(7);
        let mut pauses = 0;
        let exec = sends.before_exec(7, || {
            pauses += 1;
            sending = None;
        });
        assert_eq!(pauses, 1);
        drop(exec);
        let _interrupted = sends.enter(7);
        let mut pauses = 0;
        drop(sends.before_exec(7, || pauses += 1));
        assert_eq!(pauses, PAUSES);
    }
}
