//! Labels of a store: made from pairs, and read for a bucket's key.
//!
//! Context: [`in_force`] any; [`extend`] the program's own code and its handlers.
//! Invariant: what they give is a number of the store as it is made now, or lost.

use super::sets::Sets;
use super::{LOST, Labels, NONE};
use crate::local::Local;
use crate::store::Store;

/// `outer` and `pairs` together; where a key is in both or twice, the last counts.
///
/// # Overhead
///
/// Of a set met before: no lock, no allocation, no store to shared memory.
#[must_use]
#[inline]
pub fn extend(store: &Store, outer: Labels, pairs: &[(&str, &str)]) -> Labels {
    // None: there is no memory, or another thread of a fork's child is taking note.
    let Some(region) = store.region_or_make() else {
        return Labels::new(LOST, 0);
    };
    let made = store.generation().made();
    let set = match Sets::open(region) {
        Some(sets) => sets.extend(outer.set_in(made), pairs),
        None => LOST,
    };
    Labels::new(set, made)
}

/// The number of the set in force on a thread, for keys of buckets in `store`.
#[must_use]
#[inline]
pub(crate) fn in_force(store: &Store, local: &Local) -> u32 {
    // One load, so that a handler sees the set before or the set after.
    let labels = local.labels.get();
    if labels == Labels::NONE {
        return NONE;
    }
    labels.set_in(store.generation().made())
}

/// The sets that buckets of `store` name. Cold.
#[must_use]
pub fn sets_of(store: &Store) -> Option<Sets<'_>> {
    store.own_region().and_then(Sets::open)
}
