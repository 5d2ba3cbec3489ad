//! Hash index: from a key's hash to the number under which it is kept elsewhere.
//!
//! Context: cold.
//! Invariant: a tag is 0 (free) or a slot's seven bits of hash; at most half of the slots
//! are taken, so a search always meets a free one.
//! Source: open addressing with linear probing; the keys stay in their flat pools, so that
//! an index costs 10 to 20 bytes an entry and no allocation of its own per key. The tags, as
//! in Abseil's tables, keep a search from keys that are not the one: those of 100,000 stacks
//! are in no cache, and every search would meet one.

use std::hash::{BuildHasher, RandomState};

/// Numbers by hash. Whoever owns the keys compares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    tags: Vec<u8>,
    /// The number in each slot that is taken.
    numbers: Vec<u32>,
    len: usize,
}

impl Index {
    /// An index that never grows up to this many numbers: growing takes half as much again
    /// for a moment.
    pub(crate) fn with_capacity(numbers: usize) -> Index {
        Index::of_slots((numbers * 2).next_power_of_two().max(16))
    }

    fn of_slots(slots: usize) -> Index {
        Index {
            tags: vec![0; slots],
            numbers: vec![0; slots],
            len: 0,
        }
    }

    /// The number whose key `is_it` accepts among those with this hash.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.tags.is_empty() {
            return None;
        }
        let mask = self.tags.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.tags[at] {
                FREE => return None,
                tag if tag == tag_of(hash) && is_it(self.numbers[at]) => {
                    return Some(self.numbers[at]);
                }
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Adds a number that `find` does not know yet. `hash_of` tells the hash of each
    /// number added before, for when the index grows.
    pub(crate) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.len + 1) * 2 > self.tags.len() {
            self.grow((self.tags.len() * 2).max(16), hash_of);
        }
        self.place(hash, number);
    }

    /// Makes room for this many more numbers; `hash_of` as in [`Index::insert`].
    pub(crate) fn reserve(&mut self, additional: usize, hash_of: impl Fn(u32) -> u64) {
        let slots = ((self.len + additional) * 2).next_power_of_two();
        if slots > self.tags.len() {
            self.grow(slots.max(16), hash_of);
        }
    }

    fn grow(&mut self, slots: usize, hash_of: impl Fn(u32) -> u64) {
        let old = std::mem::replace(self, Index::of_slots(slots));
        let taken = old.tags.iter().zip(old.numbers);
        for (_, number) in taken.filter(|(tag, _)| **tag != FREE) {
            self.place(hash_of(number), number);
        }
    }

    fn place(&mut self, hash: u64, number: u32) {
        let mask = self.tags.len() - 1;
        let mut at = hash as usize & mask;
        while self.tags[at] != FREE {
            at = (at + 1) & mask;
        }
        self.tags[at] = tag_of(hash);
        self.numbers[at] = number;
        self.len += 1;
    }
}

const FREE: u8 = 0;

/// The top seven bits of the hash, of which the low ones name the slot.
fn tag_of(hash: u64) -> u8 {
    (hash >> 57) as u8 | 0x80
}

/// A hash function with a seed of its own process, so that no file can be made whose
/// keys all collide. Nothing that leaves the process depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

impl Default for Seed {
    fn default() -> Seed {
        Seed(RandomState::new().hash_one(0u8))
    }
}

impl Seed {
    /// Hash of one word.
    pub(crate) fn word(self, word: u64) -> u64 {
        mix(self.0 ^ word, MULTIPLIER)
    }

    /// Hash of two words.
    pub(crate) fn pair(self, a: u64, b: u64) -> u64 {
        mix(mix(self.0 ^ a, MULTIPLIER) ^ b, MULTIPLIER ^ self.0)
    }

    /// Hash of bytes.
    pub(crate) fn bytes(self, bytes: &[u8]) -> u64 {
        let mut hash = self.0 ^ bytes.len() as u64;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8 are 8 long"));
            hash = mix(hash ^ word, MULTIPLIER);
        }
        let mut last = [0u8; 8];
        let rest = chunks.remainder();
        last[..rest.len()].copy_from_slice(rest);
        mix(hash ^ u64::from_le_bytes(last), MULTIPLIER ^ self.0)
    }
}

/// Folded multiply, as in wyhash: both halves of the 128-bit product matter.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// wyhash's first default secret word: odd, with 32 bits set.
const MULTIPLIER: u64 = 0xa076_1d64_78bd_642f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_found_again_after_growth() {
        let seed = Seed::default();
        let mut index = Index::default();
        let hash_of = |n: u32| seed.pair(u64::from(n), 7);
        for n in 0..1000 {
            assert_eq!(index.find(hash_of(n), |m| m == n), None);
            index.insert(hash_of(n), n, hash_of);
        }
        for n in 0..1000 {
            assert_eq!(index.find(hash_of(n), |m| m == n), Some(n));
        }
    }

    #[test]
    fn room_made_beforehand_holds_as_many_without_growing() {
        let hash_of = |n: u32| Seed::default().word(u64::from(n));
        let hashes: Vec<u64> = (0..1000).map(hash_of).collect();
        let mut index = Index::default();
        index.insert(hashes[0], 0, |_| unreachable!("nothing is there"));
        index.reserve(999, |n| hashes[n as usize]);
        for n in 1..1000 {
            index.insert(hashes[n as usize], n, |_| unreachable!("it grows"));
        }
        for n in 0..1000 {
            assert_eq!(index.find(hashes[n as usize], |m| m == n), Some(n));
        }
    }

    #[test]
    fn equal_hashes_are_told_apart_by_the_key() {
        let mut index = Index::default();
        for n in 0..100 {
            index.insert(42, n, |_| 42);
        }
        for n in 0..100 {
            assert_eq!(index.find(42, |m| m == n), Some(n));
        }
    }

    #[test]
    fn hash_of_bytes_sees_length_and_every_byte() {
        let seed = Seed::default();
        assert_ne!(seed.bytes(b"a"), seed.bytes(b"a\0"));
        assert_ne!(seed.bytes(b"12345678"), seed.bytes(b"12345679"));
        assert_ne!(seed.bytes(b"x2345678abc"), seed.bytes(b"y2345678abc"));
    }
}
