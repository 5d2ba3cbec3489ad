//! Word: how long all who wait for one address have waited, in 64 bits.
//!
//! Context: sampled. Invariant: the waiters' count and the sum change in one
//! addition, so whoever reads the word reads both as of one instant.
//!
//! *W(t)* is the integral of the number of waiters up to *t*. Between two changes of
//! that number it grows in a straight line, so two figures are enough for all of it:
//!
//! ```text
//! W(t) = n·t + M      a waiter comes at s: n + 1, M − s      it leaves at e: n − 1, M + e
//! ```
//!
//! | bits | hold |
//! |---|---|
//! | 0–14 | n |
//! | 15 | claimed: the record is being given to another address |
//! | 16–63 | M, in units of 16 ns, modulo 2⁴⁸ (52 days of waiting) |
//!
//! M stands above n because it wraps: what it carries out is gone, and n, which never
//! passes its own bounds, carries nothing into it. So coming and leaving are one
//! fetch-and-add each, and undoing one is adding its negative, whatever others did
//! meanwhile.

/// The word's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub(crate) u64);

/// A time, or a difference of times, modulo 2⁴⁸ units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Units(pub(crate) u64);

impl Units {
    /// Of a clock's nanoseconds.
    #[inline]
    #[must_use]
    pub fn of_nanos(nanos: u64) -> Self {
        Self((nanos / NANOS_A_UNIT) & MASK)
    }

    /// As nanoseconds; of a difference.
    #[inline]
    #[must_use]
    pub fn nanos(self) -> u64 {
        self.0 * NANOS_A_UNIT
    }

    /// How far this is behind `earlier`, around the wrap.
    #[inline]
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.wrapping_sub(earlier.0) & MASK)
    }
}

impl Word {
    /// Nobody, ever; and the record belongs to whoever puts this in place.
    pub(crate) const CLAIM: u64 = 1 << 15;

    /// Who waits.
    #[inline]
    #[must_use]
    pub fn waiters(self) -> u64 {
        self.0 & (Self::CLAIM - 1)
    }

    /// The record is being given to another address.
    #[inline]
    #[must_use]
    pub fn is_claimed(self) -> bool {
        self.0 & Self::CLAIM != 0
    }

    /// Whether one more may come: far below what the bits hold, so that those who
    /// come at once and are turned away do not reach it.
    #[inline]
    #[must_use]
    pub fn admits(self) -> bool {
        !self.is_claimed() && self.waiters() < Self::CLAIM / 2
    }

    /// W at the time `now`.
    #[inline]
    #[must_use]
    pub fn waited(self, now: Units) -> Units {
        let product = self.waiters().wrapping_mul(now.0);
        Units(product.wrapping_add(self.0 >> SHIFT) & MASK)
    }

    /// What is added when somebody comes at `start`; subtracted, it never came.
    #[inline]
    #[must_use]
    pub fn coming(start: Units) -> u64 {
        1u64.wrapping_sub(start.0 << SHIFT)
    }

    /// What is added when somebody leaves, having waited until `end`.
    #[inline]
    #[must_use]
    pub fn leaving(end: Units) -> u64 {
        (end.0 << SHIFT).wrapping_sub(1)
    }
}

/// What of W a wake may be charged: how far it is ahead of what was charged before.
/// Nothing, where another wake was a little faster: threads that are late by minutes
/// are not, and 51 days of waiting can be charged at once.
#[inline]
#[must_use]
pub fn ahead(waited: Units, charged: Units) -> Units {
    let ahead = waited.since(charged);
    if ahead.0 > MASK - LATE {
        Units(0)
    } else {
        ahead
    }
}

/// Fine enough for what takes a futex call, 200 ns at least; coarse enough for 52 days.
const NANOS_A_UNIT: u64 = 16;
const SHIFT: u32 = 16;
const MASK: u64 = (1 << (64 - SHIFT)) - 1;
/// 18 minutes of waiting: of a thousand waiters while one waker is held up for a second.
const LATE: u64 = 1 << 36;

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Units {
        Units::of_nanos(nanos)
    }

    #[test]
    fn two_waiters_waited_twice_as_long_as_one() {
        let mut word = 0u64;
        word = word.wrapping_add(Word::coming(at(1_600)));
        word = word.wrapping_add(Word::coming(at(3_200)));
        assert_eq!(Word(word).waiters(), 2);
        assert_eq!(Word(word).waited(at(4_800)).nanos(), 3_200 + 1_600);
        word = word.wrapping_add(Word::leaving(at(4_800)));
        word = word.wrapping_add(Word::leaving(at(8_000)));
        assert_eq!(Word(word).waiters(), 0);
        assert_eq!(Word(word).waited(at(99_999)).nanos(), 3_200 + 4_800);
    }

    #[test]
    fn who_never_came_leaves_nothing_even_of_a_claimed_word() {
        for before in [0, Word::CLAIM, u64::MAX << 16, 7 << 16 | 3] {
            let coming = Word::coming(at(123_456));
            let during = before.wrapping_add(coming);
            assert_eq!(Word(during).is_claimed(), Word(before).is_claimed());
            assert_eq!(during.wrapping_sub(coming), before);
        }
    }

    #[test]
    fn sums_go_on_around_the_wrap() {
        let late = Units(MASK - 9);
        let mut word = 0u64.wrapping_add(Word::coming(late));
        let now = Units(20);
        assert_eq!(Word(word).waited(now), Units(30));
        word = word.wrapping_add(Word::leaving(now));
        assert_eq!(Word(word).waited(Units(12_345)), Units(30));
        assert_eq!(ahead(Units(5), late), Units(15));
    }

    #[test]
    fn wake_that_was_overtaken_charges_nothing() {
        assert_eq!(ahead(Units(100), Units(101)), Units(0));
        assert_eq!(ahead(Units(100), Units(100)), Units(0));
        assert_eq!(ahead(Units(1 << 47), Units(0)), Units(1 << 47));
    }
}
