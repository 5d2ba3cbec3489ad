//! Own: what a thread knows of its buffer.
//!
//! Context: sampled; each thread its own. Invariant: the place is one word, read once and
//! written once an event, so that a handler finds it whole: who comes in the midst of an
//! event and takes another slot is no second writer of this one's chunk.

use std::cell::Cell;

use super::SLOTS;
use super::chunks::{CHUNK_WORDS, FREE_WORDS};

/// What a thread knows of its buffer. All zero: it has none.
#[derive(Debug)]
pub struct Own {
    /// Its [`Place`] in one word.
    place: Cell<u64>,
    /// 1 more than `given` was when there was nothing to join with. 0: that was not so.
    pub(super) refused_at: Cell<u32>,
}

/// Where a thread writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// One more than its slot's number. 0: it has none.
    pub(super) slot: u16,
    /// The chunk that it writes.
    pub(super) chunk: u16,
    /// The next free word there.
    pub(super) at: u16,
}

// A slot, a chunk and a word fit.
const _: () = assert!(SLOTS < 1 << 16 && FREE_WORDS * 64 <= 1 << 16 && CHUNK_WORDS < 1 << 16);

impl Place {
    pub(super) fn of(own: &Own) -> Self {
        let word = own.place.get();
        Self {
            slot: (word >> 32) as u16,
            chunk: (word >> 16) as u16,
            at: word as u16,
        }
    }

    pub(super) fn keep(self, own: &Own) {
        let word = u64::from(self.slot) << 32 | u64::from(self.chunk) << 16 | u64::from(self.at);
        own.place.set(word);
    }
}

impl Own {
    /// That of a thread that has none.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            place: Cell::new(0),
            refused_at: Cell::new(0),
        }
    }

    /// Forgets what it has: it is another process's, or somebody was left in the midst of
    /// writing to it.
    pub(crate) fn forget(&self) {
        self.place.set(0);
        self.refused_at.set(0);
    }
}

impl Default for Own {
    fn default() -> Self {
        Self::new()
    }
}
