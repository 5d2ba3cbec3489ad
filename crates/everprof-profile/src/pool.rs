//! Pool: byte strings kept once, end to end in one buffer, known by number.
//!
//! Context: cold.
//! Invariant: string `n` is `bytes[ends[n - 1]..ends[n]]`; equal strings have equal
//! numbers.
//! Source: one buffer and one 4-byte end a string, because a profile has 100,000 stacks
//! and as many allocations of their own would cost more than what they hold.

use crate::index::{Index, Seed};

/// Byte strings, each kept once. Numbers count from 0 in order of first insertion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    index: Index,
    seed: Seed,
}

impl Pool {
    /// The number of `bytes`, which are added if they are new.
    ///
    /// # Panics
    ///
    /// If the pool would exceed 4 GiB. Decoding and merging refuse before that.
    pub(crate) fn insert(&mut self, bytes: &[u8]) -> u32 {
        let hash = self.seed.bytes(bytes);
        if let Some(number) = self.index.find(hash, |n| self.get(n) == bytes) {
            return number;
        }
        let number = u32::try_from(self.ends.len()).expect("a pool holds fewer than 2^32 strings");
        let end = u32::try_from(self.bytes.len() + bytes.len()).expect("a pool is below 4 GiB");
        self.bytes.extend_from_slice(bytes);
        self.ends.push(end);
        let Pool {
            bytes,
            ends,
            index,
            seed,
        } = self;
        index.insert(hash, number, |n| seed.bytes(slice(bytes, ends, n)));
        number
    }

    /// Makes room for this many more strings, if not for their bytes.
    pub(crate) fn reserve(&mut self, additional: usize) {
        self.ends.reserve_exact(additional);
        let Pool {
            bytes,
            ends,
            index,
            seed,
        } = self;
        index.reserve(additional, |n| seed.bytes(slice(bytes, ends, n)));
    }

    /// The number of `bytes`, if they are in the pool.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<u32> {
        self.index
            .find(self.seed.bytes(bytes), |n| self.get(n) == bytes)
    }

    /// String `number`.
    pub(crate) fn get(&self, number: u32) -> &[u8] {
        slice(&self.bytes, &self.ends, number)
    }

    /// Cuts from the front of each string as many bytes as `cut` says, and joins those
    /// that become equal. Tells the new number of each old one. In place: strings only
    /// move forward, so there is never a second buffer.
    pub(crate) fn shorten(&mut self, cut: impl Fn(&[u8]) -> usize) -> Vec<u32> {
        // Of no use any more, and as large as the new one will be.
        self.index = Index::default();
        let mut index = Index::with_capacity(self.ends.len());
        let mut kept = 0;
        let (mut start, mut free) = (0, 0);
        let new_numbers = (0..self.ends.len())
            .map(|old| {
                let end = self.ends[old] as usize;
                let from = start + cut(&self.bytes[start..end]);
                start = end;
                self.bytes.copy_within(from..end, free);
                let (done, string) = self.bytes[..free + end - from].split_at(free);
                let hash = self.seed.bytes(string);
                let known = index.find(hash, |n| slice(done, &self.ends, n) == string);
                known.unwrap_or_else(|| {
                    let number = kept;
                    kept += 1;
                    free += string.len();
                    self.ends[number as usize] = free as u32;
                    let (bytes, ends, seed) = (&self.bytes, &self.ends, self.seed);
                    index.insert(hash, number, |n| seed.bytes(slice(bytes, ends, n)));
                    number
                })
            })
            .collect();
        self.ends.truncate(kept as usize);
        self.bytes.truncate(free);
        self.index = index;
        new_numbers
    }

    /// How many strings there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all strings together.
    pub(crate) fn total_bytes(&self) -> usize {
        self.bytes.len()
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = match number {
        0 => 0,
        n => ends[n - 1] as usize,
    };
    &bytes[start..ends[number] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_a_number() {
        let mut pool = Pool::default();
        let a = pool.insert(b"alpha");
        let b = pool.insert(b"");
        assert_eq!(pool.insert(b"alpha"), a);
        assert_eq!(pool.insert(b""), b);
        assert_eq!((pool.get(a), pool.get(b)), (&b"alpha"[..], &b""[..]));
        assert_eq!((pool.len(), pool.total_bytes()), (2, 5));
    }

    #[test]
    fn numbers_count_up_in_order_of_insertion() {
        let mut pool = Pool::default();
        for n in 0..5000u32 {
            assert_eq!(pool.insert(&n.to_le_bytes()), n);
        }
        for n in 0..5000u32 {
            assert_eq!(pool.get(n), n.to_le_bytes());
        }
    }

    #[test]
    fn shortened_strings_that_become_equal_are_joined() {
        let mut pool = Pool::default();
        for text in ["xxabc", "b", "abc", "xb", "", "xxx", "xq"] {
            pool.insert(text.as_bytes());
        }
        let front = |bytes: &[u8]| bytes.iter().take_while(|&&byte| byte == b'x').count();
        assert_eq!(pool.shorten(front), [0, 1, 0, 1, 2, 2, 3]);
        let strings: Vec<_> = (0..4).map(|n| pool.get(n)).collect();
        assert_eq!(strings, [&b"abc"[..], b"b", b"", b"q"]);
        assert_eq!((pool.len(), pool.total_bytes()), (4, 5));
        assert_eq!(pool.find(b"q"), Some(3));
        assert_eq!(pool.insert(b"xq"), 4);
    }
}
