//! Per process: a value that a fork's child does not share with its parent.
//!
//! Context: cold, as it makes the value where there is none; any for `latest`. No lock.
//! Invariant: what is here was made by the process that its guard was armed in, and is never freed.
//!
//! For what is kept under an ordinary lock. In a child such a lock may be held by a thread that
//! stayed behind, and what it guards may be half changed. So the child must not wait for it, look
//! at it or drop it: it makes another. What its parent had stays, unused.
//!
//! Each value has a guard of its own (`fork`). The store's generation would not do: there is none
//! before the first sample, nor a new one while another thread of the child takes note.

use std::ptr;

use crate::fork::Guard;
use crate::sync::{AtomicPtr, Ordering};

/// See the module head.
#[derive(Debug)]
pub struct PerProcess<T: 'static> {
    /// Null: none was made. Written by whoever makes one, with Release.
    made: AtomicPtr<Made<T>>,
}

#[derive(Debug)]
struct Made<T: 'static> {
    /// Armed before anybody else has learned of the value.
    guard: Guard,
    value: T,
    /// The parent's, for those who look for memory that nobody knows of.
    _before: Option<&'static Made<T>>,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    /// Nothing yet.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "to be placed, not passed")]
    pub const fn new() -> Self {
        Self {
            made: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The value, if this process has made one.
    #[must_use]
    pub fn get(&self) -> Option<&'static T> {
        let made = self.last()?;
        (!made.guard.happened()).then_some(&made.value)
    }

    /// The value, made now if need be.
    pub fn get_or_make(&self) -> &'static T {
        let before = self.last();
        if let Some(made) = before.filter(|made| !made.guard.happened()) {
            return &made.value;
        }
        let new = Made {
            guard: Guard::new(),
            value: T::default(),
            _before: before,
        };
        new.guard.arm_first();
        let new = Box::into_raw(Box::new(new));
        let before = before.map_or(ptr::null_mut(), |made| ptr::from_ref(made).cast_mut());
        // Release: publishes the value and its guard. Acquire on failure: another thread's is
        // whole. Both pair with each other, and with the Acquire in `last`.
        let swapped = self
            .made
            .compare_exchange(before, new, Ordering::Release, Ordering::Acquire);
        let there = match swapped {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: made above, and nobody else has learned of it.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        };
        // SAFETY: not null, made by `Box`, and never freed once it is here (module head). Another
        // thread of this process made it meanwhile: nobody else changes what is here.
        &unsafe { &*there }.value
    }

    /// The value that was made last, here or in a parent.
    #[must_use]
    pub fn latest(&self) -> Option<&'static T> {
        self.last().map(|made| &made.value)
    }

    fn last(&self) -> Option<&'static Made<T>> {
        // Acquire: pairs with the Release in `get_or_make`.
        let made = self.made.load(Ordering::Acquire);
        // SAFETY: null, or made by `Box` and never freed once it is here (module head).
        unsafe { made.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn value_is_one_for_all_who_ask() {
        static VALUE: PerProcess<AtomicU32> = PerProcess::new();
        assert!(VALUE.get().is_none());
        VALUE.get_or_make().store(5, Ordering::Relaxed);
        assert_eq!(VALUE.get_or_make().load(Ordering::Relaxed), 5);
        assert_eq!(VALUE.get().unwrap().load(Ordering::Relaxed), 5);
    }

    #[test]
    fn value_is_the_same_for_all_who_make_it_at_once() {
        static VALUE: PerProcess<AtomicU32> = PerProcess::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| VALUE.get_or_make().fetch_add(1, Ordering::Relaxed));
            }
        });
        assert_eq!(VALUE.get().unwrap().load(Ordering::Relaxed), 4);
    }

    /// Whatever else it has done: a child that has recorded nothing yet has no other store.
    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn child_takes_a_lock_that_is_held_in_its_parent() {
        static VALUE: PerProcess<std::sync::Mutex<u32>> = PerProcess::new();
        let _held = VALUE.get_or_make().lock().unwrap();
        let takes_its_own = || {
            let is_none = VALUE.get().is_none();
            let is_free = VALUE.get_or_make().try_lock().is_ok();
            let is_known = VALUE.get().is_some();
            is_none && is_free && is_known
        };
        assert!(crate::fork::holds_in_child(|| {
            let took = takes_its_own();
            let _held = VALUE.get_or_make().lock();
            took && crate::fork::holds_in_child(takes_its_own)
        }));
    }
}
