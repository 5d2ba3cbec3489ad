//! Reach: whether all wakers of a task are where the task alone can get at them.
//!
//! Context: cold. Twin of `reach_noop.rs`. Invariant: nothing is read but copies that the kernel
//! makes, so that memory which is freed meanwhile is an error or an old value. What is found is
//! a suspicion: memory is read without knowing what it means.
//!
//! A task that owns both ends of its channel waits for ever, with a waker of it in the channel.
//! Whoever is to wake a task must get at a waker of it, and so somewhere must be a pointer to
//! where that is. Looked for are
//!
//! 1. from the future on: the *blocks* that its words lead to and that hold a waker of it, or
//!    a pointer into it, as the lists do in which locks keep those who wait for them;
//! 2. in all memory that is written: words that point into the future or into its blocks,
//!    and do not stand in either.
//!
//! If a word of the second kind is anywhere, somebody else may wake the task, and nothing is
//! suspected; unless it stands in what another such task leads to. Then it counts if that one is
//! not suspected itself: tasks that wait for one another in a circle, and that nobody else can
//! get at, are suspected all together.
//!
//! Old words that mean nothing any more hide a leak, and make none up. Old *wakers* do neither
//! where nobody had one when the last poll began: all that exist are of that poll, a tag tells
//! them, and others are words. Else old ones are looked for, too, and words of such hide a leak.
//! A block that does not begin with the counts of an `Arc` may be the inside of one: it is taken
//! from where the future has one nearby, so that whoever has that one is seen.
//!
//! To be called on a thread that has no business with the tasks, since its stack is left out.
//! What this itself notes of addresses is kept [`shifted`], so that it is not found.

use std::ops::Range;

use super::entry::{ANEW, Entry, Word};
use super::waker;
use crate::global;
use crate::sync::Ordering;
use crate::sys::{self, copy};
use crate::threads::Maps;
use sweep::Sweep;

mod sweep;

/// A task that waits, with wakers that somebody keeps.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) entry: &'static Entry,
    /// Of it, behind its last poll.
    pub(super) word: Word,
    pub(super) size_bytes: usize,
    pub(super) wakers: u32,
}

/// Of each task: whether, as far as can be seen, it alone can reach its wakers. Nothing, where
/// there is more memory than is looked at. `asker` is the stack pointer of whoever asks: what is
/// below it on that stack is everprof's.
pub(super) fn alone(asked: &[Asked], asker: u64) -> Option<Vec<bool>> {
    if asked.is_empty() {
        return None;
    }
    let maps = Maps::read()?;
    let mut sweep = Sweep::new(&maps, asker);
    for (owner, task) in asked.iter().enumerate() {
        let found = look_from(task, &maps, sweep.stacks());
        let is_all = found
            .as_ref()
            .is_some_and(|found| found.wakers >= task.wakers);
        sweep.add(
            owner,
            is_all,
            found.unwrap_or_default(),
            waker::words_of(task.entry, task.word),
            task.word.has(ANEW),
        );
    }
    sweep.run(asked.len())
}

/// What a future leads to.
#[derive(Debug, Default)]
struct Found {
    /// The future itself, and the blocks, shifted.
    places: Vec<Range<u64>>,
    /// Wakers in them; old ones may be among these.
    wakers: u32,
}

/// Looks from a future on. `None`: somebody else has to do with it, or it cannot be read.
fn look_from(task: &Asked, maps: &Maps, stacks: &[u64]) -> Option<Found> {
    // Relaxed: a place to look at.
    let at = task.entry.future_at.load(Ordering::Relaxed) as u64;
    let size = task.size_bytes as u64;
    if at == 0 || size == 0 || size > MOST_FUTURE_BYTES {
        return None;
    }
    let own = at..at.checked_add(size)?;
    let pair = waker::words_of(task.entry, task.word);
    let mut found = Found::default();
    let mut next: Vec<Lead> = Vec::new();
    let mut words = Words::new();
    for start in (own.start..own.end).step_by(BLOCK_BYTES as usize) {
        let bytes = (own.end - start).min(BLOCK_BYTES);
        let part = words.read(start, bytes)?;
        found.wakers += wakers_in(part, pair);
        next.extend(pointers_in(part, &own).map(|(_, word)| Lead {
            block: shifted(word),
            path: Vec::new(),
        }));
    }
    found.places.push(shifted(own.start)..shifted(own.end));
    // Where the future's own words lead to what is counted; in the order of addresses.
    let mut counted: Option<u64> = None;
    for depth in 0..DEPTH {
        next.sort_by_key(|lead| lead.block);
        next.dedup();
        let mut further = Vec::new();
        for lead in next.iter().take(MOST_BLOCKS) {
            let start = unshifted(lead.block);
            let is_known = |place: &Range<u64>| place.contains(&lead.block);
            let Some(map) = maps.at(start).filter(|map| map.is_written) else {
                continue;
            };
            if found.places.iter().any(is_known) {
                // Another way there.
                found.places.extend(lead.path.iter().cloned());
                continue;
            }
            let is_stack = |sp: &u64| (map.start..map.limit).contains(sp);
            // What these lead to is not the task's alone.
            let is_shared =
                map.is_static || map.is_first_stack || map.is_shared || stacks.iter().any(is_stack);
            let mut bytes = (map.limit - start).min(BLOCK_BYTES);
            // In front of the future stands what its executor knows of it.
            if start < own.start {
                bytes = bytes.min(own.start - start);
            }
            let bytes = words.allocated(start, bytes);
            let Some(part) = words.read(start, bytes) else {
                continue;
            };
            let is_counted = matches!(part, [strong, weak, ..]
                if COUNTS.contains(strong) && COUNTS.contains(weak));
            if depth == 0 && is_counted {
                counted = Some(lead.block);
            }
            let outer = counted.filter(|at| depth == 0 && lead.block - at < MOST_OBJECT_BYTES);
            let wakers = wakers_in(part, pair);
            if wakers == 0 && !part.iter().any(|word| own.contains(word)) {
                if is_shared {
                    continue;
                }
                further.extend(pointers_in(part, &own).map(|(index, word)| {
                    let mut path = lead.path.clone();
                    path.push(lead.block..lead.block + (index as u64 + 1) * WORD);
                    let block = shifted(word);
                    Lead { block, path }
                }));
                continue;
            }
            if is_shared {
                return None;
            }
            found.wakers += wakers;
            // No further than known: what is behind may be another's.
            let is_of_it = |word: &u64| own.contains(word) || *word == pair.0 as u64;
            let last = part.iter().rposition(is_of_it).unwrap_or(0) as u64;
            // A waker's other word may follow.
            let begin = outer.unwrap_or(lead.block);
            found.places.push(begin..lead.block + (last + 2) * WORD);
            // What leads there is the task's, too, or its words are somebody's.
            found.places.extend(lead.path.iter().cloned());
        }
        next = further;
    }
    Some(found)
}

/// A pointer that was found, and the blocks that led to it, shifted.
#[derive(PartialEq, Eq)]
struct Lead {
    block: u64,
    path: Vec<Range<u64>>,
}

/// Wakers of a task among words: two, beside one another.
fn wakers_in(words: &[u64], (cell, table): (usize, usize)) -> u32 {
    let (cell, table) = (cell as u64, table as u64);
    let is_waker = |pair: &&[u64]| **pair == [cell, table] || **pair == [table, cell];
    words.windows(2).filter(is_waker).count() as u32
}

/// Words that may be pointers out of the future, and which they are.
fn pointers_in<'w>(
    words: &'w [u64],
    own: &'w Range<u64>,
) -> impl Iterator<Item = (usize, u64)> + 'w {
    words.iter().copied().enumerate().filter(|(_, word)| {
        word.is_multiple_of(WORD)
            && (LEAST_ADDRESS..MOST_ADDRESS).contains(word)
            && !own.contains(word)
    })
}

/// An address as it is noted: no pointer any more, and in the same order.
fn shifted(address: u64) -> u64 {
    address.wrapping_add(SHIFT)
}

fn unshifted(noted: u64) -> u64 {
    noted.wrapping_sub(SHIFT)
}

/// Room for what is copied, which is not left behind.
struct Words {
    process: i32,
    words: Box<[u64; (BLOCK_BYTES / WORD) as usize]>,
}

impl Words {
    fn new() -> Self {
        Self {
            process: sys::process_id().cast_signed(),
            words: Box::new([0; (BLOCK_BYTES / WORD) as usize]),
        }
    }

    /// How many of the bytes from `start` on are of the block there, as far as can be seen: glibc's
    /// `malloc` keeps a block's size in front of it, with three flags. Other words there say
    /// nothing. A block that is taken for shorter than it is hides a leak at worst, or
    /// who points to its end.
    fn allocated(&mut self, start: u64, bytes: u64) -> u64 {
        let Some([word]) = self.read(start - WORD, WORD) else {
            return bytes;
        };
        let size = word & !7;
        let is_size = start.is_multiple_of(16)
            && size.is_multiple_of(16)
            && (LEAST_CHUNK_BYTES..=BLOCK_BYTES).contains(&size);
        if is_size {
            bytes.min(size - WORD)
        } else {
            bytes
        }
    }

    /// The words from `start` on.
    fn read(&mut self, start: u64, bytes: u64) -> Option<&[u64]> {
        let words = self.words.get_mut(..bytes.div_ceil(WORD) as usize)?;
        let copied = copy(self.process, start, words);
        (copied as u64 >= bytes).then_some(words)
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        self.words.fill(0);
        // Nobody reads it, as far as the compiler knows.
        std::hint::black_box(&mut self.words);
    }
}

/// The addresses of everprof's own records, where wakers' words stand, too.
fn own_records() -> [Range<u64>; 2] {
    let store = global::store();
    let arena = store.own_region().map_or(0..0, |region| region.addresses());
    [arena, global::tasks().addresses()]
}

const WORD: u64 = 8;
const SHIFT: u64 = 1 << 60;
/// Larger futures are not looked at.
const MOST_FUTURE_BYTES: u64 = 64 << 10;
/// Of a block: what stands in front in channels and locks of tokio's and futures' kind.
const BLOCK_BYTES: u64 = 512;
/// The smallest that glibc allocates, with what it keeps of it.
const LEAST_CHUNK_BYTES: u64 = 32;
/// From the future to an `Arc`, and on to a node that it has.
const DEPTH: usize = 3;
/// Blocks looked at, a step.
const MOST_BLOCKS: usize = 256;
/// An object that has another's counts in front of it is no longer.
const MOST_OBJECT_BYTES: u64 = 4096;
/// What looks like the counts of an `Arc`.
const COUNTS: Range<u64> = 1..1 << 20;
const LEAST_ADDRESS: u64 = 1 << 16;
const MOST_ADDRESS: u64 = 1 << 47;
