//! In use: the objects that a trace has not seen go, by their address.
//!
//! Context: cold, and asked twice in the life of each object.
//! Invariant: from an object's home to the object no slot is empty; at most three quarters
//! of the slots are taken, so a search ends.
//! Source: open addressing with linear probing and removal by shifting back (Knuth, "The Art
//! of Computer Programming", 6.4, algorithm R): without tombstones a table that objects come
//! and go through for hours stays as it was. Two objects of 32 bytes share a line of the
//! cache, so that a search mostly touches one line.

use crate::index::Seed;

/// An object in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) address: u64,
    /// When it was allocated.
    pub(crate) time: u64,
    /// The size in the lower 48 bits, how often it was reallocated in the others.
    packed: u64,
    /// The site that it is counted at; `EMPTY` in a slot without an object.
    pub(crate) site: u32,
    pub(crate) thread: u32,
}

const EMPTY: u32 = u32::MAX;
const SIZE_BITS: u32 = 48;

/// No object is larger: addresses have 48 bits.
pub(crate) const MOST_BYTES: u64 = (1 << SIZE_BITS) - 1;

impl Object {
    /// An object of at most [`MOST_BYTES`].
    pub(crate) fn new(address: u64, time: u64, size_bytes: u64, site: u32, thread: u32) -> Object {
        debug_assert!(size_bytes <= MOST_BYTES && site != EMPTY);
        Object {
            address,
            time,
            packed: size_bytes & MOST_BYTES,
            site,
            thread,
        }
    }

    /// How much was asked for.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.packed & MOST_BYTES
    }

    /// How many reallocations have led to it; 65,535 means that or more.
    pub(crate) fn reallocations(&self) -> u16 {
        (self.packed >> SIZE_BITS) as u16
    }

    /// The same, known to be one reallocation further than `before`.
    pub(crate) fn after(mut self, before: &Object) -> Object {
        let reallocations = before.reallocations().saturating_add(1);
        self.packed = self.size_bytes() | u64::from(reallocations) << SIZE_BITS;
        self
    }
}

const VACANT: Object = Object {
    address: 0,
    time: 0,
    packed: 0,
    site: EMPTY,
    thread: 0,
};

/// Objects by address.
#[derive(Clone, Debug, Default)]
pub(crate) struct InUse {
    slots: Vec<Object>,
    len: usize,
    seed: Seed,
}

impl InUse {
    /// How many objects are in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts an object where it is; tells which one was there.
    #[inline]
    pub(crate) fn insert(&mut self, object: Object) -> Option<Object> {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = self.home(object.address);
        loop {
            let slot = &mut self.slots[at];
            if slot.site == EMPTY {
                *slot = object;
                self.len += 1;
                return None;
            }
            if slot.address == object.address {
                return Some(std::mem::replace(slot, object));
            }
            at = (at + 1) & mask;
        }
    }

    /// Takes the object at an address, if `is_it` says that it is the one.
    #[inline]
    pub(crate) fn remove_if(
        &mut self,
        address: u64,
        is_it: impl FnOnce(&Object) -> bool,
    ) -> Option<Object> {
        if self.len == 0 {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = self.home(address);
        let object = loop {
            let slot = self.slots[at];
            if slot.site == EMPTY {
                return None;
            }
            if slot.address == address {
                break slot;
            }
            at = (at + 1) & mask;
        };
        if !is_it(&object) {
            return None;
        }
        // What follows without a gap moves into the hole, unless its home is behind it.
        let mut next = at;
        loop {
            next = (next + 1) & mask;
            let slot = self.slots[next];
            if slot.site == EMPTY {
                break;
            }
            let home = self.home(slot.address);
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(at) & mask {
                self.slots[at] = slot;
                at = next;
            }
        }
        self.slots[at] = VACANT;
        self.len -= 1;
        Some(object)
    }

    #[inline]
    fn home(&self, address: u64) -> usize {
        self.seed.word(address) as usize & (self.slots.len() - 1)
    }

    #[cold]
    fn grow(&mut self) {
        let bigger = (self.slots.len() * 2).max(16);
        let old = std::mem::replace(&mut self.slots, vec![VACANT; bigger]);
        self.len = 0;
        for object in old.into_iter().filter(|slot| slot.site != EMPTY) {
            self.insert(object);
        }
    }
}

const _: () = assert!(size_of::<Object>() == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn sizes_and_reallocations_share_a_word() {
        let first = Object::new(8, 1, MOST_BYTES, 3, 4);
        let mut object = first;
        for n in 1..=3 {
            object = Object::new(16, 2, 100, 3, 4).after(&object);
            assert_eq!((object.size_bytes(), object.reallocations()), (100, n));
        }
        assert_eq!((first.size_bytes(), first.reallocations()), (MOST_BYTES, 0));
    }

    proptest! {
        /// Few addresses, so that runs of slots form, wrap around and close again.
        #[test]
        fn objects_are_those_of_a_standard_map(
            steps in prop::collection::vec((any::<bool>(), 0u64..40), 0..400),
        ) {
            let mut in_use = InUse::default();
            let mut model: HashMap<u64, Object> = HashMap::new();
            for (n, (inserts, address)) in steps.into_iter().enumerate() {
                if inserts {
                    let object = Object::new(address, n as u64, 7, 1, 2);
                    prop_assert_eq!(in_use.insert(object), model.insert(address, object));
                } else {
                    prop_assert_eq!(in_use.remove_if(address, |_| true), model.remove(&address));
                }
                prop_assert_eq!(in_use.len(), model.len());
            }
            for (address, object) in model {
                prop_assert_eq!(in_use.remove_if(address, |_| false), None);
                prop_assert_eq!(in_use.remove_if(address, |_| true), Some(object));
            }
            prop_assert_eq!(in_use.len(), 0);
        }
    }
}
