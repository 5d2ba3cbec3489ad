//! Reach: whether all wakers of a task are where the task alone can get at them.
//!
//! Context: cold. Invariant: nothing is read but copies that the kernel makes, so that memory
//! which is freed meanwhile is an error or an old value. What is found is a suspicion: memory
//! is read without knowing what it means.
//!
//! A task that owns both ends of its channel waits for ever, with a waker of it in the channel.
//! Looked for are a kept waker's two words, beside one another, in the future itself and in
//! what its words point to. A block that begins as an `Arc`'s does, with two small counts,
//! is the task's own if as many words of the task point to it as the first count says.
//! If every such block is, and all wakers are found in those or in the future, then nobody
//! else has what could wake the task. Two things speak against that: a shared block, and a
//! block of anything else that points back into the future, as the lists do in which
//! locks, timers and semaphores keep those who wait for them.

use std::collections::BTreeMap;

use super::entry::Entry;
use super::waker;
use crate::sync::Ordering;
use crate::sys;

/// Whether so many wakers are all in the task's own reach.
pub(super) fn is_own(entry: &Entry, size_bytes: usize, wakers: u32) -> bool {
    // Relaxed: a place to look at.
    let at = entry.future_at.load(Ordering::Relaxed);
    if at == 0 || size_bytes == 0 || size_bytes > MOST_FUTURE_BYTES {
        return false;
    }
    let mut search = Search {
        own: at..at + size_bytes,
        waker: waker::words_of(entry),
        wakers: 0,
        pointers: BTreeMap::new(),
    };
    let mut words = vec![0; size_bytes.div_ceil(WORD)];
    if !read(at, &mut words) {
        return false;
    }
    search.scan(&words);
    // Blocks of blocks, as far as the wakers are.
    let mut done = 0;
    while done < MOST_BLOCKS {
        let Some(block) = search.next() else {
            break;
        };
        if !search.look_into(block) {
            return false;
        }
        done += 1;
    }
    // What was not looked at may be anybody's.
    done < MOST_BLOCKS
        && search.wakers == wakers
        && search.pointers.values().all(|block| match block.strong {
            Some(strong) => strong == 1,
            None => true,
        })
}

struct Search {
    own: std::ops::Range<usize>,
    waker: (usize, usize),
    /// Found so far.
    wakers: u32,
    /// Words that may be pointers, and what is there.
    pointers: BTreeMap<usize, Block>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// Words of the task that are this address.
    pointers: u64,
    is_done: bool,
    /// The count of an `Arc`, if it begins so.
    strong: Option<u64>,
}

impl Search {
    /// Notes wakers and pointers.
    fn scan(&mut self, words: &[usize]) {
        let (cell, table) = self.waker;
        for pair in words.windows(2) {
            if pair == [cell, table] || pair == [table, cell] {
                self.wakers += 1;
            }
        }
        for &word in words {
            let is_pointer =
                word.is_multiple_of(WORD) && (LEAST_ADDRESS..MOST_ADDRESS).contains(&word);
            if is_pointer && !self.own.contains(&word) && word != cell && word != table {
                self.pointers.entry(word).or_default().pointers += 1;
            }
        }
    }

    fn next(&self) -> Option<usize> {
        self.pointers
            .iter()
            .find(|(_, block)| !block.is_done)
            .map(|(&at, _)| at)
    }

    /// False: somebody else has to do with it.
    fn look_into(&mut self, at: usize) -> bool {
        let mut words = [0; BLOCK_WORDS];
        let mut whole = words.as_mut_slice();
        while !read(at, whole) {
            // The end of a mapping, or no pointer at all.
            let half = whole.len() / 2;
            if half == 0 {
                break;
            }
            whole = whole.get_mut(..half).unwrap_or(&mut []);
        }
        let [strong, weak, ..] = words;
        let is_count = |n: usize| (1..=MOST_COUNT).contains(&n);
        let is_shared_type = is_count(strong) && is_count(weak);
        let Some(block) = self.pointers.get_mut(&at) else {
            return true;
        };
        block.is_done = true;
        if is_shared_type {
            block.strong = Some(strong as u64);
            // Further pointers to it may be found yet, but not so many.
            if strong as u64 > block.pointers + MOST_MORE_POINTERS {
                return false;
            }
            self.scan(&words);
            return true;
        }
        // A list that somebody waits in.
        !words.iter().any(|word| self.own.contains(word))
    }
}

/// Copies words. False: there are not so many to be had.
fn read(at: usize, words: &mut [usize]) -> bool {
    let mut address = at as u64;
    for word in words {
        match sys::read_word(address) {
            Some(read) => *word = read as usize,
            None => return false,
        }
        address += WORD as u64;
    }
    true
}

const WORD: usize = size_of::<usize>();
/// Larger futures are not looked at: a copy takes a system call a word.
const MOST_FUTURE_BYTES: usize = 16 << 10;
/// Blocks looked at a task.
const MOST_BLOCKS: usize = 64;
/// Of a block: what stands in front in the channels of std's, tokio's and futures' kind.
const BLOCK_WORDS: usize = 64;
/// No `Arc` that a task has for itself has more.
const MOST_COUNT: usize = 1024;
const MOST_MORE_POINTERS: u64 = 8;
const LEAST_ADDRESS: usize = 1 << 16;
const MOST_ADDRESS: usize = 1 << 47;
