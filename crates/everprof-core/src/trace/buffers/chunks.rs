//! Chunks: the memory that events wait in, shared out piece by piece.
//!
//! Context: sampled (`claim`); the rest is the reader's, cold. No lock: a bit is cleared by
//! whoever claims its chunk.
//! Invariant: a chunk whose bit is set is nobody's, and its head is zero.

use crate::sync::{AtomicU64, Ordering};

/// Words of a chunk, the two of its head included. 8 KiB are some 400 events: enough that
/// beginning the next is nothing, and so few that 6,000 threads find one each in the memory
/// that there is by default.
#[cfg(not(any(everprof_loom, miri)))]
pub(super) const CHUNK_WORDS: usize = 1024;
/// Room for two events, so that models and Miri come to the second chunk.
#[cfg(any(everprof_loom, miri))]
pub(super) const CHUNK_WORDS: usize = 8;

/// Words of a chunk's head: how far it is filled, and one more than the next one's number.
pub(super) const HEAD_WORDS: usize = 2;
pub(super) const FILLED: usize = 0;
pub(super) const NEXT: usize = 1;

/// Words of bits, one for each chunk: 256 MiB of them at most.
#[cfg(not(any(everprof_loom, miri)))]
pub(super) const FREE_WORDS: usize = 512;
#[cfg(any(everprof_loom, miri))]
pub(super) const FREE_WORDS: usize = 1;

/// All chunks, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks<'a> {
    /// A bit for each chunk that nobody has. Cleared by threads, set by the reader.
    pub(super) free: &'a [AtomicU64; FREE_WORDS],
    /// One chunk after the other.
    pub(super) words: &'a [AtomicU64],
}

impl<'a> Chunks<'a> {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.words.len() / CHUNK_WORDS
    }

    /// The words of one.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&'a [AtomicU64]> {
        let start = number as usize * CHUNK_WORDS;
        self.words.get(start..start + CHUNK_WORDS)
    }

    /// A chunk that nobody has: the first one, so that few pages are touched.
    pub(super) fn claim(&self) -> Option<u32> {
        for (index, bits) in self.free.iter().enumerate() {
            // Relaxed: looked at again by the exchange.
            let mut seen = bits.load(Ordering::Relaxed);
            while seen != 0 {
                let bit = seen.trailing_zeros();
                // Acquire: pairs with the Release in `set_free`; the chunk is empty.
                match bits.compare_exchange(
                    seen,
                    seen & !(1 << bit),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Some(index as u32 * 64 + bit),
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// Empties one and gives it back.
    pub(super) fn set_free(&self, number: u32) {
        for word in [FILLED, NEXT] {
            if let Some(word) = self.get(number).and_then(|chunk| chunk.get(word)) {
                // Relaxed: published by the bit below.
                word.store(0, Ordering::Relaxed);
            }
        }
        if let Some(bits) = self.free.get(number as usize / 64) {
            // Release: pairs with the Acquire in `claim`.
            bits.fetch_or(1 << (number % 64), Ordering::Release);
        }
    }

    /// All are nobody's: before anybody else sees them.
    pub(super) fn set_all_free(&self) {
        for (index, bits) in self.free.iter().enumerate() {
            let here = self.count().saturating_sub(index * 64).min(64) as u32;
            let all = 1_u64.checked_shl(here).unwrap_or(0).wrapping_sub(1);
            // Relaxed: as said.
            bits.store(all, Ordering::Relaxed);
        }
    }

    /// As `set_all_free`, of chunks that were used: in a fork's child.
    pub(super) fn reset(&self) {
        for chunk in self.words.chunks(CHUNK_WORDS) {
            for head in chunk.iter().take(HEAD_WORDS) {
                // Relaxed, both: only one thread is here. Not touched where it is zero: a
                // page of the child's own otherwise.
                if head.load(Ordering::Relaxed) != 0 {
                    head.store(0, Ordering::Relaxed);
                }
            }
        }
        self.set_all_free();
    }
}
