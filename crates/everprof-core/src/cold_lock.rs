//! Cold lock: one at a time, among those who may wait.
//!
//! Context: cold. No event takes it, so that no handler can find it held beneath itself.
//! Invariant: all bits zero is free, so that it may stand in an arena; in a fork's child
//! whoever makes the records its own frees it, as its holder may be the parent's thread.

use crate::arena::{NewRecord, records};
use crate::sync::{AtomicU32, Ordering};
use crate::sys;

/// Free, or somebody's.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct ColdLock {
    /// 1: held. Written by whoever takes it and frees it.
    held: AtomicU32,
}

/// Held until this drops.
#[derive(Debug)]
#[must_use]
pub(crate) struct Held<'l> {
    lock: &'l ColdLock,
}

impl NewRecord for ColdLock {
    fn new_record() -> Self {
        Self {
            held: AtomicU32::new(0),
        }
    }
}
records!(ColdLock);

impl ColdLock {
    /// Waits until it is free.
    pub(crate) fn lock(&self) -> Held<'_> {
        // Acquire: pairs with the Release in `Held::drop`.
        while self
            .held
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            sys::pause_briefly();
        }
        Held { lock: self }
    }

    /// Frees it, whoever holds it: in a fork's child, where nobody else is.
    pub(crate) fn free(&self) {
        // Relaxed: only one thread is here.
        self.held.store(0, Ordering::Relaxed);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Release: the next holder sees what this one wrote.
        self.lock.held.store(0, Ordering::Release);
    }
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Counted {
        lock: ColdLock,
        count: Cell<u32>,
    }

    // SAFETY: the cell is used by who holds the lock only.
    unsafe impl Sync for Counted {}

    #[test]
    fn one_at_a_time_holds_it() {
        let counted = Counted {
            lock: ColdLock::new_record(),
            count: Cell::new(0),
        };
        let rounds = if cfg!(miri) { 20 } else { 2_000 };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    // As a whole, or the closure would take the cell alone.
                    let counted = &counted;
                    for _ in 0..rounds {
                        let _held = counted.lock.lock();
                        counted.count.set(counted.count.get() + 1);
                    }
                });
            }
        });
        assert_eq!(counted.count.get(), 3 * rounds);
    }

    #[test]
    fn freed_one_can_be_taken_though_nobody_gave_it_back() {
        let lock = ColdLock::new_record();
        std::mem::forget(lock.lock());
        lock.free();
        drop(lock.lock());
    }
}
