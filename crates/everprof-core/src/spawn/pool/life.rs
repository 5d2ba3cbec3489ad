//! Life: which thread has a record, and how much of its time was counted.
//!
//! Context: sampled. Invariant: an odd tag is a thread's, an even one nobody's; a record's
//! tags follow one another, so that what belongs to one life is never taken for the next's.
//!
//! ```text
//! microseconds counted so far (52 bits) | tag (12 bits)
//! ```

/// The word of a record, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life(u64);

impl Life {
    pub(super) const fn of(word: u64) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> u64 {
        self.0
    }

    pub(super) const fn tag(self) -> u32 {
        self.0 as u32 & TAG_MASK
    }

    /// Whether some thread has it.
    pub(super) const fn is_taken(self) -> bool {
        self.tag() % 2 == 1
    }

    /// What was counted of the thread's time.
    pub(super) const fn counted_nanos(self) -> u64 {
        (self.0 >> TAG_BITS) * NANOS_A_MICRO
    }

    /// The next life: a thread's after nobody's, nobody's after a thread's. Nothing of its
    /// time was counted.
    #[must_use]
    pub(super) const fn next(self) -> Self {
        Self(self.tag().wrapping_add(1) as u64 & TAG_MASK as u64)
    }

    /// The same with its time counted up to `nanos`; `None` where so much was counted before.
    #[must_use]
    pub(super) fn counted_up_to(self, nanos: u64) -> Option<Self> {
        let micros = nanos / NANOS_A_MICRO;
        let is_more = micros > self.0 >> TAG_BITS;
        is_more.then_some(Self(micros << TAG_BITS | u64::from(self.tag())))
    }
}

/// A record used again 2,048 times between two instructions of a walk would be taken
/// for the same life. 52 bits of microseconds are 142 years of a thread's time.
pub(super) const TAG_BITS: u32 = 12;
const TAG_MASK: u32 = (1 << TAG_BITS) - 1;
const NANOS_A_MICRO: u64 = 1000;
