//! Gate: lets a signal handler use memory that another thread gives back.
//!
//! Context: signal; `open`, `close` and `reset` are cold.
//! Invariant: once `close` was called and `is_empty` has said so, nobody is inside,
//! and nobody comes in before the next `open`.
//!
//! One word says whether the gate is open and how many are inside, so that entering
//! is one fetch-and-add on it and no order between two words has to be argued:
//!
//! | step | who | does |
//! |---|---|---|
//! | enter | handler | `word += 1`; inside if the old value's top bit was set, else leaves |
//! | leave | handler | `word −= 1`, Release |
//! | close | owner | clears the top bit; who enters later sees it |
//! | `is_empty` | owner | the rest is 0, Acquire: what they did inside is seen |
//!
//! Who is abandoned inside (a handler came over it and left by longjmp) never leaves:
//! whoever goes inside holds signals off, and the owner waits with patience, and then
//! leaves the memory where it is.

use crate::sync::{AtomicU64, Ordering};

/// Open or closed, and how many are inside. All zero at first: closed, nobody.
#[derive(Debug)]
pub struct Gate {
    /// Top bit: open. Written by the owner; the rest by whoever enters and leaves.
    word: AtomicU64,
}

/// One who is inside, until dropped.
#[derive(Debug)]
#[must_use]
pub struct Inside<'a> {
    gate: &'a Gate,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `is_empty`.
        self.gate.word.fetch_sub(1, Ordering::Release);
    }
}

impl Gate {
    /// A closed gate.
    #[cfg(not(everprof_loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
        }
    }

    /// A closed gate.
    #[cfg(everprof_loom)]
    #[must_use]
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
        }
    }

    /// Goes inside, if the gate is open.
    pub fn enter(&self) -> Option<Inside<'_>> {
        // Acquire: pairs with the Release in `open`; what was made before is there.
        let before = self.word.fetch_add(1, Ordering::Acquire);
        let inside = Inside { gate: self };
        (before & OPEN != 0).then_some(inside)
    }

    /// Whether it is open: a hint, which tells nothing of what is inside.
    #[must_use]
    #[inline]
    pub fn is_open(&self) -> bool {
        // Relaxed: whoever wants to go inside asks again there.
        self.word.load(Ordering::Relaxed) & OPEN != 0
    }

    /// Lets in whoever comes.
    pub fn open(&self) {
        // Release: publishes what is inside. Pairs with the Acquire in `enter`.
        self.word.fetch_or(OPEN, Ordering::Release);
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        // Relaxed: all changes of the word have one order; who enters after this one
        // sees the gate closed, and who entered before is counted.
        self.word.fetch_and(!OPEN, Ordering::Relaxed);
    }

    /// Whether nobody is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Acquire: pairs with the Release of those who left.
        self.word.load(Ordering::Acquire) & !OPEN == 0
    }

    /// Back to the first state: in a fork's child, whose other threads are gone.
    pub fn reset(&self) {
        // Relaxed: only one thread is here.
        self.word.store(0, Ordering::Relaxed);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

const OPEN: u64 = 1 << 63;

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    #[test]
    fn closed_gate_lets_nobody_in_and_waits_for_who_is_inside() {
        let gate = Gate::new();
        assert!(gate.enter().is_none() && gate.is_empty());
        gate.open();
        let (first, second) = (gate.enter(), gate.enter());
        assert!(first.is_some() && second.is_some());
        gate.close();
        assert!(!gate.is_open() && gate.enter().is_none());
        drop(first);
        assert!(!gate.is_empty());
        drop(second);
        assert!(gate.is_empty());
    }

    #[test]
    fn gate_opens_again_with_somebody_left_inside() {
        let gate = Gate::new();
        gate.open();
        let stuck = gate.enter();
        gate.close();
        gate.open();
        drop(gate.enter());
        gate.close();
        assert!(!gate.is_empty());
        gate.reset();
        assert!(gate.is_empty());
        std::mem::forget(stuck);
    }
}
