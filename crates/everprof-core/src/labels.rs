//! Labels: which keys and values a thread's samples carry, as one number.
//!
//! Context: [`in_force`] and [`enter`] any, signal handlers included; [`extend`] runs
//! in the program's own code, where it may touch the arena, and makes it if need be.
//! Invariant: what is in force is one word of [`Local`](crate::local::Local), which
//! names a set that never changes ([`sets`]), or says that it is lost.
//!
//! ```text
//! labels! { tenant => a }   extend(none, tenant=a)  → set 70 ┐ one word, kept by
//!   labels! { route => b }  extend(70, route=b)     → set 93 │ the guard that
//!   }                       enter(70)                        │ restores it
//! }                         enter(none)                      ┘
//! ```
//!
//! **Generation.** In a fork's child whose records were made anew (see
//! [`store`](crate::store)) the parent's sets are gone, while guards that the fork
//! copied go on naming them. So the word says for which making of the store its
//! number holds; a number of another one reads as lost. Where the child's arena is a
//! private copy, nothing is made anew and all labels stay.

use std::fmt;

use crate::local;

mod future;
#[cfg(not(everprof_loom))]
mod of_store;
mod packed;
pub mod sets;

pub use future::Labelled;
#[cfg(not(everprof_loom))]
pub(crate) use of_store::in_force;
#[cfg(not(everprof_loom))]
pub use of_store::{extend, sets_of};
pub use packed::{MOST_BYTES, MOST_PAIRS};

/// The number of no set.
pub const NONE: u32 = 0;

/// The number of all sets that there was no room for. In every arena this is an
/// offset within the header, where no record stands.
pub const LOST: u32 = 1;

/// A thread's labels at some time. All bits zero: none.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Labels(u64);

impl Labels {
    /// No labels.
    pub const NONE: Self = Self(0);

    const fn new(set: u32, made: u32) -> Self {
        if set == NONE {
            return Self::NONE;
        }
        Self(set as u64 | (made as u64) << 32)
    }

    /// As one word.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// From the word that `to_bits` gave.
    pub(crate) fn from_bits(word: u64) -> Self {
        Self(word)
    }

    /// The set's number in the store as it was made for the `made`th time.
    pub(crate) fn set_in(self, made: u32) -> u32 {
        match self.0 as u32 {
            set if set <= LOST || (self.0 >> 32) as u32 == made => set,
            _ => LOST,
        }
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Labels").finish_non_exhaustive()
    }
}

/// This thread's labels.
#[must_use]
#[inline]
pub fn current() -> Labels {
    local::with(|local| local.labels.get())
}

/// Makes `labels` this thread's; gives those that were.
#[inline]
pub fn enter(labels: Labels) -> Labels {
    local::with(|local| local.labels.replace(labels))
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn number_of_another_making_is_lost_and_none_is_none_in_all() {
        let labels = Labels::new(70, 3);
        assert_eq!(labels.set_in(3), 70);
        assert_eq!(labels.set_in(4), LOST);
        assert_eq!(Labels::new(NONE, 3), Labels::NONE);
        assert_eq!(Labels::NONE.set_in(9), NONE);
        assert_eq!(Labels::new(LOST, 0).set_in(9), LOST);
    }

    #[test]
    fn thread_has_its_own_labels() {
        let store = Box::new(Store::new());
        let set = extend(&store, Labels::NONE, &[("a", "b")]);
        let before = enter(set);
        assert_eq!((before, current()), (Labels::NONE, set));
        let other = std::thread::spawn(current).join().expect("no panic");
        // Where creations of threads are seen, it has its creator's.
        let inherits = crate::spawn::CREATIONS_ARE_SEEN;
        assert_eq!(other, if inherits { set } else { Labels::NONE });
        assert_eq!(enter(before), set);
    }
}
