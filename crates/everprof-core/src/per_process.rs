//! Per process: a value that a fork's child does not share with its parent.
//!
//! Context: cold, as it makes the value where there is none; any for `latest`. No lock.
//! Invariant: what is here was made in the generation that it says, and is never freed.
//!
//! For what is kept under an ordinary lock. In a child such a lock may be held by a thread that
//! stayed behind, and what it guards be half changed, so that the child must neither wait
//! for it nor look, nor drop it: it makes another. What its parent had stays, unused.

use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

/// See the module head.
#[derive(Debug)]
pub struct PerProcess<T: 'static> {
    /// Null: none was made. Written by whoever makes one, with Release.
    made: AtomicPtr<Made<T>>,
}

#[derive(Debug)]
struct Made<T: 'static> {
    /// What the process was told by when it was made.
    generation: u64,
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

    /// The value, if one was made in `generation`: a number that is another in a fork's child, such
    /// as [`Store::generation_number`](crate::store::Store::generation_number) or the process's id.
    #[must_use]
    pub fn get(&self, generation: u64) -> Option<&'static T> {
        let made = self.last()?;
        (made.generation == generation).then_some(&made.value)
    }

    /// The value, made now if need be.
    pub fn get_or_make(&self, generation: u64) -> &'static T {
        let before = self.last();
        if let Some(made) = before.filter(|made| made.generation == generation) {
            return &made.value;
        }
        let new = Box::into_raw(Box::new(Made {
            generation,
            value: T::default(),
            _before: before,
        }));
        let before = before.map_or(ptr::null_mut(), |made| ptr::from_ref(made).cast_mut());
        // Release: publishes the value. Acquire on failure: another thread's is whole. Both pair
        // with each other, and with the Acquire in `last`.
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
        // thread of this process made it in this generation.
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
    fn value_is_one_in_each_generation() {
        static VALUE: PerProcess<AtomicU32> = PerProcess::new();
        assert!(VALUE.get(1).is_none());
        VALUE.get_or_make(1).store(5, Ordering::Relaxed);
        assert_eq!(VALUE.get_or_make(1).load(Ordering::Relaxed), 5);
        assert!(VALUE.get(2).is_none());
        assert_eq!(VALUE.get_or_make(2).load(Ordering::Relaxed), 0);
        assert_eq!(VALUE.get(2).unwrap().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn value_is_the_same_for_all_who_make_it_at_once() {
        static VALUE: PerProcess<AtomicU32> = PerProcess::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| VALUE.get_or_make(1).fetch_add(1, Ordering::Relaxed));
            }
        });
        assert_eq!(VALUE.get(1).unwrap().load(Ordering::Relaxed), 4);
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn child_takes_a_lock_that_is_held_in_its_parent() {
        static VALUE: PerProcess<std::sync::Mutex<u32>> = PerProcess::new();
        let _held = VALUE.get_or_make(1).lock().unwrap();
        assert!(crate::fork::holds_in_child(|| {
            VALUE.get_or_make(2).try_lock().is_ok()
        }));
    }
}
