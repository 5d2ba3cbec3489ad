//! Search: which locks a piece of memory leads to.
//!
//! Context: cold. Invariant: what could not be read leads to all of them. Memory is
//! copied out by the kernel, so that nothing can fault.

use core::ops::Range;

use super::maps::Maps;
use crate::sys::copy;
use crate::threads::lock_address::LockAddress;

/// Locks, in order, and which of them were met.
#[derive(Debug)]
pub(super) struct Search<'l> {
    process: i32,
    sorted: &'l [LockAddress],
    pub(super) met: Vec<bool>,
}

impl<'l> Search<'l> {
    pub(super) fn new(process: u32, sorted: &'l [LockAddress]) -> Self {
        Self {
            process: process.cast_signed(),
            sorted,
            met: vec![false; sorted.len()],
        }
    }

    /// Notes the locks that a word is near, if it is an address in what they are in:
    /// at most `reach` before them, or `back` behind.
    fn note(&mut self, word: u64, back: u64, reach: u64) {
        // In the order of complements.
        let word = LockAddress::new(word).word();
        let first = word.saturating_sub(reach);
        let last = word.saturating_add(back);
        let from = self.sorted.partition_point(|lock| lock.word() < first);
        for (lock, met) in self.sorted.iter().zip(self.met.iter_mut()).skip(from) {
            if lock.word() > last {
                break;
            }
            *met = true;
        }
    }

    /// Notes the locks that words of a stack are near. False: not all could be read.
    pub(super) fn stack(&mut self, start: u64, limit: u64) -> bool {
        for_each_word(self.process, start, limit, |word| {
            self.note(word, REACH_BACK_BYTES, REACH_BYTES);
        })
    }

    /// Notes the locks for which a guard stands where a word of a stack leads to. False:
    /// not all could be read.
    ///
    /// So far guards are found that are in a box, a vector, or a map of one leaf. Memory
    /// that is `recorded` in is not searched, and words that are `skipped` not followed.
    pub(super) fn behind(
        &mut self,
        (start, limit): (u64, u64),
        maps: &Maps,
        recorded: &Range<u64>,
        skipped: impl Fn(u64) -> bool,
    ) -> bool {
        let mut words = Vec::new();
        let whole = for_each_word(self.process, start, limit, |word| {
            let is_on_stack = (start..limit).contains(&word);
            if !is_on_stack && !skipped(word) && maps.at(word).is_some_and(|map| map.is_written) {
                words.push(word & !7);
            }
        });
        words.sort_unstable();
        let mut bytes = 0;
        // How far was searched: what two words lead to is searched once.
        let mut done = 0;
        for word in words {
            let limit = maps.at(word).map_or(word, |map| map.limit);
            let end = word.saturating_add(BEHIND_BYTES).min(limit);
            let from = word.max(done);
            done = end.max(done);
            bytes += end.saturating_sub(from);
            if bytes > MOST_BYTES {
                return false;
            }
            // What is gone by now was of a thread that runs.
            let (mut at, mut last) = (from, [0; 2]);
            for_each_word(self.process, from, end, |next| {
                let [before, word] = last;
                if is_guard(before, word, next) && !recorded.contains(&at) {
                    self.note(word, 0, LOCK_BYTES);
                }
                last = [word, next];
                at += 8;
            });
        }
        whole
    }
}

/// Whether a word in memory, by its neighbours, could be the lock's address in a guard of
/// std's: beside it stands whether the thread panicked when it took the lock, or, in that of
/// a reader, the address of what is locked. (The last word of what is searched is not
/// looked at.) Without this, what has been left in memory by frames and copies of
/// them, with locks' addresses, would make the answer unknown more often than not.
fn is_guard(before: u64, word: u64, next: u64) -> bool {
    let is_of_data = |other: u64| other.wrapping_sub(word) <= DATA_BYTES;
    next as u8 <= 1 || is_of_data(before) || is_of_data(next)
}

/// Calls `visit` with each word. False: not all could be read.
fn for_each_word(process: i32, start: u64, limit: u64, mut visit: impl FnMut(u64)) -> bool {
    let mut words = [0; (PAGE_BYTES / 8) as usize];
    let mut at = start & !7;
    while at + 8 <= limit {
        let wanted = ((limit - at) / 8).min(PAGE_BYTES / 8) as usize;
        let words = words.get_mut(..wanted).unwrap_or(&mut []);
        if copy(process, at, words) != size_of_val(words) {
            return false;
        }
        words.iter().for_each(|word| visit(*word));
        at += 8 * wanted as u64;
    }
    true
}

/// How far behind a word a lock may be that is part of what the word points to. More
/// than any structure or row of shards seen that has locks within.
pub const REACH_BYTES: u64 = 64 << 10;
/// How far before it: a lock's word may not be its first, and an end may be kept.
const REACH_BACK_BYTES: u64 = 64;
/// A guard in memory has the lock's address, which is that of its first word or, for
/// std's `RwLock`, of the one before that which a writer sleeps on.
const LOCK_BYTES: u64 = 4;
/// What is locked stands right behind the lock, at its own alignment.
const DATA_BYTES: u64 = 4096;
/// How far a guard may be behind where a word points to: in a large future, among a
/// thousand in a vector. Not before it: there lie the dead frames of an ended thread
/// whose handle somebody has.
const BEHIND_BYTES: u64 = 16 << 10;
/// A stack that leads to more is not followed.
const MOST_BYTES: u64 = 16 << 20;
const PAGE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    #[test]
    fn locks_near_a_word_are_met_and_others_not() {
        let locks = [0x20_0000, 0x10_0000].map(LockAddress::new);
        let met = |word| {
            let mut search = Search::new(sys::process_id(), &locks);
            search.note(word, REACH_BACK_BYTES, REACH_BYTES);
            search.met
        };
        assert_eq!(met(0x10_0000), [false, true]);
        assert_eq!(met(0x20_0000 - REACH_BYTES), [true, false]);
        assert_eq!(met(0x20_0000 - REACH_BYTES - 1), [false, false]);
        assert_eq!(met(0x10_0040), [false, true]);
        assert_eq!(met(0x10_0041), [false, false]);
        assert_eq!(met(u64::MAX), [false, false]);
    }

    #[test]
    fn a_guard_in_a_box_is_found_behind_the_stack() {
        let lock = 0x1234_5670_u64;
        let boxed = Box::new([0, lock - 4, 0]);
        let stack = [0, std::ptr::from_ref(&*boxed) as u64, 0];
        let start = std::ptr::from_ref(&stack) as u64;
        let Some(maps) = Maps::read() else {
            return;
        };
        let locks = [lock + 64, lock].map(LockAddress::new);
        let range = (start, start + 24);
        let mut search = Search::new(sys::process_id(), &locks);
        assert!(search.stack(range.0, range.1) && search.met == [false, false]);
        assert!(search.behind(range, &maps, &(0..0), |_| false) && search.met == [false, true]);
        let mut search = Search::new(sys::process_id(), &locks);
        assert!(search.behind(range, &maps, &(0..0), |_| true) && search.met == [false, false]);
    }

    #[test]
    fn memory_that_cannot_be_read_is_not_taken_for_searched() {
        let mut search = Search::new(sys::process_id(), &[]);
        assert!(!search.stack(8, 64));
        assert!(search.stack(8, 8));
    }
}
