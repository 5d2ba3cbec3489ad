//! Search: which locks a piece of memory leads to.
//!
//! Context: cold. Invariant: what could not be read leads to all of them. Memory is
//! copied out by the kernel, so that nothing can fault.

use std::collections::BTreeSet;

use super::maps::Maps;
use crate::stack::backend::copy;

/// Locks, in order, and which of them were met.
#[derive(Debug)]
pub(super) struct Search<'l> {
    process: i32,
    sorted: &'l [u64],
    pub(super) met: Vec<bool>,
}

impl<'l> Search<'l> {
    pub(super) fn new(process: u32, sorted: &'l [u64]) -> Self {
        Self {
            process: process.cast_signed(),
            sorted,
            met: vec![false; sorted.len()],
        }
    }

    /// Notes the locks that a word is near, if it is an address in what they are in:
    /// at most `reach` before them, or `back` behind.
    fn note(&mut self, word: u64, back: u64, reach: u64) {
        let first = word.saturating_sub(back);
        let last = word.saturating_add(reach);
        let from = self.sorted.partition_point(|lock| *lock < first);
        for (lock, met) in self.sorted.iter().zip(self.met.iter_mut()).skip(from) {
            if *lock > last {
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

    /// Notes the locks whose very address stands where a word of a stack leads to. False:
    /// not all could be read.
    ///
    /// So far guards are found that are in a box, or a vector, or a map of one leaf. Memory
    /// of ours, in which locks stand that are waited for, is `skipped`.
    pub(super) fn behind(
        &mut self,
        (start, limit): (u64, u64),
        maps: &Maps,
        skipped: impl Fn(u64) -> bool,
    ) -> bool {
        let mut pages = BTreeSet::new();
        let whole = for_each_word(self.process, start, limit, |word| {
            let is_on_stack = (start..limit).contains(&word);
            if is_on_stack || pages.len() > MOST_PAGES || skipped(word) {
                return;
            }
            let Some(map) = maps.at(word).filter(|map| map.is_written) else {
                return;
            };
            let first = word.saturating_sub(BEHIND_BACK_BYTES).max(map.start);
            let last = word.saturating_add(BEHIND_BYTES).min(map.limit - 1);
            pages.extend(first / PAGE_BYTES..=last / PAGE_BYTES);
        });
        if !whole || pages.len() > MOST_PAGES {
            return false;
        }
        for page in pages {
            let at = page * PAGE_BYTES;
            // What is gone by now was of a thread that runs.
            for_each_word(self.process, at, at + PAGE_BYTES, |word| {
                self.note(word, 0, LOCK_BYTES);
            });
        }
        true
    }
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
/// How far a guard may be from where a word points to: in a large future, among the
/// last of a thousand in a vector; before it, in a hash map.
const BEHIND_BYTES: u64 = 16 << 10;
const BEHIND_BACK_BYTES: u64 = 4 << 10;
/// 16 MiB: a stack that leads to more is not followed.
const MOST_PAGES: usize = 4096;
const PAGE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    #[test]
    fn locks_near_a_word_are_met_and_others_not() {
        let locks = [0x10_0000, 0x20_0000];
        let met = |word| {
            let mut search = Search::new(sys::process_id(), &locks);
            search.note(word, REACH_BACK_BYTES, REACH_BYTES);
            search.met
        };
        assert_eq!(met(0x10_0000), [true, false]);
        assert_eq!(met(0x20_0000 - REACH_BYTES), [false, true]);
        assert_eq!(met(0x20_0000 - REACH_BYTES - 1), [false, false]);
        assert_eq!(met(0x10_0040), [true, false]);
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
        let (locks, range) = ([lock, lock + 64], (start, start + 24));
        let mut search = Search::new(sys::process_id(), &locks);
        assert!(search.stack(range.0, range.1) && search.met == [false, false]);
        assert!(search.behind(range, &maps, |_| false) && search.met == [true, false]);
        let mut search = Search::new(sys::process_id(), &locks);
        assert!(search.behind(range, &maps, |_| true) && search.met == [false, false]);
    }

    #[test]
    fn memory_that_cannot_be_read_is_not_taken_for_searched() {
        let mut search = Search::new(sys::process_id(), &[1]);
        assert!(!search.stack(8, 64));
        assert!(search.stack(8, 8));
    }
}
