//! Packed pairs: keys and values as words, to be hashed, compared and kept.
//!
//! Context: any. Invariant: equal words are equal pairs in equal order, and words
//! that [`pack`] wrote are read back by [`Pairs`] as they were. Words of another
//! process may be anything: reading them ends and does not panic.
//!
//! ```text
//! | key bytes, value bytes (32 bits each) | key, zeroes | value, zeroes | next pair …
//! ```

use std::mem::MaybeUninit;
use std::str;

/// Pairs of the largest set that is kept: more than anybody has been seen to use, and few
/// enough to be sorted on a small stack.
pub const MOST_PAIRS: usize = 32;

/// Bytes of the largest set that is kept, its pairs packed: a stack's worth of a page
/// at the most is taken while it is put together.
pub const MOST_BYTES: usize = 1024;

/// As [`MOST_BYTES`].
pub(super) const MOST_WORDS: usize = MOST_BYTES / WORD;

const WORD: usize = 8;

/// How many words a text takes. Not `div_ceil`, which asks about the remainder; a
/// length is far from the greatest number, a lie is 32 bits.
#[inline(always)]
fn words_in(len_bytes: usize) -> usize {
    len_bytes.wrapping_add(WORD - 1) / WORD
}

/// How many words `pairs` take.
#[inline]
pub(super) fn words_of(pairs: &[(&str, &str)]) -> usize {
    pairs.iter().fold(0, |sum, (key, value)| {
        sum + 1 + words_in(key.len()) + words_in(value.len())
    })
}

/// Writes `pairs` to the front of `out`. `None`: they do not fit.
#[inline(always)]
pub(super) fn pack<'o>(
    pairs: &[(&str, &str)],
    out: &'o mut [MaybeUninit<u64>],
) -> Option<&'o [u64]> {
    let len = words_of(pairs);
    let out = out.get_mut(..len)?;
    let mut to: *mut u64 = out.as_mut_ptr().cast();
    for (key, value) in pairs {
        let lens = key.len() as u64 | (value.len() as u64) << 32;
        // SAFETY: of the `len` words `words_of` counted one for each pair's lengths, and
        // for each text those that `pack_text` writes, in this order.
        unsafe { to.write(lens.to_le()) };
        // SAFETY: as above: behind the word that was written, or at the end.
        to = unsafe { to.add(1) };
        // SAFETY: as above.
        to = unsafe { pack_text(key.as_bytes(), to) };
        // SAFETY: as above.
        to = unsafe { pack_text(value.as_bytes(), to) };
    }
    // SAFETY: all `len` words were written, see above; `MaybeUninit<u64>` has the layout
    // of a `u64`.
    Some(unsafe { std::slice::from_raw_parts(out.as_ptr().cast(), len) })
}

/// Writes a text and zeroes behind it; gives the place behind these. Without bounds
/// checks, which were half of its instructions.
///
/// # Safety
/// `to` is good for writing as many words as `text` takes.
#[inline(always)]
unsafe fn pack_text(text: &[u8], to: *mut u64) -> *mut u64 {
    let words = words_in(text.len());
    let Some(tail) = text.last_chunk::<WORD>() else {
        if words > 0 {
            // SAFETY: one word, as the caller promises.
            unsafe { to.write(short(text).to_le()) };
        }
        return to.wrapping_add(words);
    };
    for (index, chunk) in text.as_chunks::<WORD>().0.iter().enumerate() {
        // SAFETY: no more chunks than words, as the caller promises.
        let to = unsafe { to.add(index) };
        // SAFETY: as above.
        unsafe { to.write(u64::from_ne_bytes(*chunk)) };
    }
    // The last eight bytes, without those that stand in the word before.
    let before = text.len().wrapping_neg() % WORD;
    // SAFETY: eight bytes or more take a word.
    let last = unsafe { to.add(words - 1) };
    // SAFETY: as above.
    unsafe { last.write((u64::from_le_bytes(*tail) >> (8 * before)).to_le()) };
    to.wrapping_add(words)
}

/// One to seven bytes as a word, by loads that overlap in place of a loop.
#[inline(always)]
fn short(text: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let high = u64::from(u32::from_le_bytes(*last)) << (8 * (text.len() - 4));
        return u64::from(u32::from_le_bytes(*first)) | high;
    }
    let byte = |at: usize| text.get(at).map_or(0, |byte| u64::from(*byte) << (8 * at));
    byte(0) | byte(1) | byte(2)
}

/// Reads pairs back.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    words: &'a [u64],
}

impl<'a> Pairs<'a> {
    pub(super) fn of(words: &'a [u64]) -> Self {
        Self { words }
    }

    fn text(&mut self, len: usize) -> Option<&'a str> {
        let (text, rest) = self.words.split_at_checked(words_in(len))?;
        self.words = rest;
        // SAFETY: the same memory, seen as bytes, of which any is valid.
        let bytes =
            unsafe { std::slice::from_raw_parts(text.as_ptr().cast::<u8>(), size_of_val(text)) };
        str::from_utf8(bytes.get(..len)?).ok()
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (lens, rest) = self.words.split_first()?;
        self.words = rest;
        let lens = u64::from_le(*lens);
        let key = self.text((lens & u64::from(u32::MAX)) as usize)?;
        let value = self.text((lens >> 32) as usize)?;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

    #[test]
    fn pairs_of_all_lengths_are_read_back() {
        for key in 0..20 {
            for value in 0..20 {
                let pairs = [(&TEXT[..key], &TEXT[TEXT.len() - value..]), ("k", "ü")];
                let mut out = [MaybeUninit::uninit(); MOST_WORDS];
                let words = pack(&pairs, &mut out).unwrap();
                assert_eq!(words.len(), words_of(&pairs));
                assert!(Pairs::of(words).eq(pairs));
            }
        }
    }

    #[test]
    fn where_key_ends_and_value_begins_makes_a_difference() {
        let (mut one, mut other) = ([MaybeUninit::uninit(); 9], [MaybeUninit::uninit(); 9]);
        let one = pack(&[("ab", "c")], &mut one).unwrap();
        assert_ne!(one, pack(&[("a", "bc")], &mut other).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut out = [MaybeUninit::uninit(); 3];
        assert!(pack(&[("a", "123456789")], &mut out).is_none());
        assert!(pack(&[("a", "12345678")], &mut out).is_some());
    }

    #[test]
    fn words_that_lie_end_the_reading() {
        for lens in [u64::MAX, 1 << 40, 9, 0xFFFF_FFFF] {
            assert_eq!(Pairs::of(&[lens, 0x6161]).count(), 0);
        }
        assert_eq!(Pairs::of(&[1 | 1 << 32, 0xFF, 0x61]).count(), 0, "no UTF-8");
        assert_eq!(Pairs::of(&[0, 0, 0]).count(), 3);
    }
}
