//! Sweep: who else points to the places of tasks, in all memory that is written.
//!
//! Context: cold. Invariant: of what was swept every word was looked at; what was not swept is
//! everprof's own, the stack of the thread that sweeps among it, or what a sleeping thread's
//! stack has left below its end.
//!
//! The kernel makes one mapping of neighbours that are alike: what is left out is told by its own
//! ends, never by the mapping that it is in.
//!
//! Pages that were never touched are told by the kernel (/proc/self/pagemap) and passed over, up
//! to a limit of their own.

use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::super::entry;
use super::{Found, MOST_ADDRESS, Words, own_records, shifted};
use crate::sys;
use crate::threads::Maps;

/// A sweep to come.
pub(super) struct Sweep<'m> {
    maps: &'m Maps,
    /// The stack pointer of whoever asked.
    asker: u64,
    /// The stack pointers of threads that sleep.
    stacks: Vec<u64>,
    /// Places of tasks, shifted, and whose.
    places: Vec<(Range<u64>, usize)>,
    /// Where each task's future begins, shifted.
    futures: Vec<(usize, u64)>,
    wakers: Vec<Wakers>,
    /// Not told to be alone, whatever is found.
    others: Vec<usize>,
    table: u64,
}

/// How a task's wakers are told.
struct Wakers {
    /// Their first word without its tag, shifted.
    cell: u64,
    /// `None`: there may be some of any.
    tag: Option<u64>,
    owner: usize,
}

/// What a sweep has found so far.
struct Verdict {
    /// Of each task: nobody but such tasks points to its places.
    alone: Vec<bool>,
    /// Tasks to whose places another's point, each with that one.
    held: Vec<(usize, usize)>,
}

impl Verdict {
    /// Somebody at `holders`, none of them: anybody, points to what is of `owner`.
    fn held(&mut self, owner: usize, holders: impl Iterator<Item = usize> + Clone) {
        if holders.clone().any(|holder| holder == owner) {
            return;
        }
        if holders.clone().next().is_none() {
            self.alone[owner] = false;
        }
        self.held.extend(holders.map(|holder| (owner, holder)));
    }

    /// Whoever can get at the holder can get at what that one holds.
    fn settled(mut self) -> Vec<bool> {
        self.held.sort_unstable();
        self.held.dedup();
        loop {
            let alone = &mut self.alone;
            let before = self.held.len();
            self.held.retain(|&(owner, holder)| {
                alone[owner] &= alone[holder];
                alone[owner]
            });
            if self.held.len() == before {
                return self.alone;
            }
        }
    }
}

impl<'m> Sweep<'m> {
    pub(super) fn new(maps: &'m Maps, asker: u64) -> Self {
        Self {
            maps,
            asker,
            stacks: sleeping_stack_ends(),
            places: Vec::new(),
            futures: Vec::new(),
            wakers: Vec::new(),
            others: Vec::new(),
            table: 0,
        }
    }

    /// The stack pointers of threads that sleep.
    pub(super) fn stacks(&self) -> &[u64] {
        &self.stacks
    }

    /// A task with its places.
    pub(super) fn add(
        &mut self,
        owner: usize,
        is_all: bool,
        found: Found,
        (cell, table): (usize, usize),
        all_are_new: bool,
    ) {
        if !is_all {
            self.others.push(owner);
            return;
        }
        let future = found.places.first();
        self.futures
            .extend(future.map(|place| (owner, place.start)));
        let places = found.places.into_iter();
        self.places.extend(places.map(|place| (place, owner)));
        let tag = cell as u64 % TAGS;
        self.wakers.push(Wakers {
            cell: shifted(cell as u64 - tag),
            tag: all_are_new.then_some(tag),
            owner,
        });
        self.table = shifted(table as u64);
    }

    /// Looks at all memory, and tells of each of `count` tasks whether it is alone.
    pub(super) fn run(mut self, count: usize) -> Option<Vec<bool>> {
        let mut verdict = Verdict {
            alone: vec![true; count],
            held: Vec::new(),
        };
        for &other in &self.others {
            verdict.alone[other] = false;
        }
        if self.places.is_empty() {
            return Some(verdict.alone);
        }
        self.places.sort_unstable_by_key(|(place, _)| place.start);
        self.wakers.sort_unstable_by_key(|wakers| wakers.cell);
        let pagemap = std::fs::File::open("/proc/self/pagemap").ok()?;
        let page_bytes = kernels_page_bytes()?;
        let mut words = Words::new();
        let [arena, entries] = own_records();
        // This thread is everprof's own, and knows all of it.
        let own = [arena, entries, sys::own_stack()?];
        let buffer = words.words.as_ptr().addr() as u64;
        let buffer = buffer..buffer + PART_BYTES;
        let (mut left, mut reserved) = (MOST_BYTES / PAGE, MOST_RESERVED_BYTES / PAGE);
        for map in self.maps.iter() {
            if !map.is_written || map.is_shared || map.start >= MOST_ADDRESS {
                continue;
            }
            let is_own = |own: &Range<u64>| own.start <= map.start && map.limit <= own.end;
            if own.iter().any(is_own) {
                continue;
            }
            let is_in = |at: &u64| (map.start..map.limit).contains(at);
            // What a stack has below its end is nobody's any more.
            let from = match is_in(&self.asker) {
                true => Some(self.asker),
                false => self.stacks.iter().copied().filter(is_in).min(),
            };
            let start = from.map_or(map.start, |from| from & !(PAGE - 1));
            let mut present = Present::new(&pagemap, page_bytes);
            let mut next = start;
            while next < map.limit {
                let page = next;
                let absent = present.absent_from(page).min((map.limit - page) / PAGE);
                if absent > 0 {
                    reserved = reserved.checked_sub(absent)?;
                    next += absent * PAGE;
                    continue;
                }
                next += PAGE;
                if own.iter().any(|own| own.contains(&page)) {
                    continue;
                }
                left = left.checked_sub(1)?;
                for part in (page..page + PAGE).step_by(PART_BYTES as usize) {
                    // What is freed meanwhile leads nowhere.
                    if let Some(read) = words.read(part, PART_BYTES) {
                        self.look_at(part, read, &buffer, from.unwrap_or(0), &mut verdict);
                    }
                }
            }
        }
        Some(verdict.settled())
    }

    fn look_at(
        &self,
        part: u64,
        words: &[u64],
        buffer: &Range<u64>,
        from: u64,
        verdict: &mut Verdict,
    ) {
        let (Some((first, _)), Some((last, _))) = (self.places.first(), self.places.last()) else {
            return;
        };
        let (least, most) = (first.start, last.start + super::MOST_FUTURE_BYTES);
        for (index, word) in words.iter().enumerate() {
            let noted = shifted(*word);
            let at = part + 8 * index as u64;
            if (least..most).contains(&noted) {
                if at < from || buffer.contains(&at) {
                    continue;
                }
                for owner in self.owners(noted) {
                    // The future's own address is its executor's business.
                    if !self.is_start_of_future(noted, owner) {
                        verdict.held(owner, self.owners(shifted(at)));
                    }
                }
            }
            let tag = word % TAGS;
            let known = self
                .wakers
                .binary_search_by_key(&(noted - tag), |wakers| wakers.cell)
                .ok()
                .and_then(|known| self.wakers.get(known))
                .filter(|wakers| wakers.tag.is_none_or(|of| of == tag));
            if let Some(Wakers { owner, .. }) = known {
                let neighbours = [index.checked_sub(1), Some(index + 1)];
                let is_waker = neighbours.into_iter().flatten().any(|index| {
                    words
                        .get(index)
                        .is_some_and(|word| shifted(*word) == self.table)
                });
                let is_counted = at >= from && !buffer.contains(&at);
                if is_waker && is_counted {
                    verdict.held(*owner, self.owners(shifted(at)));
                }
            }
        }
    }

    /// Whose places an address is in.
    fn owners(&self, noted: u64) -> impl Iterator<Item = usize> + Clone + '_ {
        let next = self
            .places
            .partition_point(|(place, _)| place.start <= noted);
        let before = self.places.get(..next).unwrap_or(&[]).iter().rev();
        // No place is longer than the longest future.
        before
            .take_while(move |(place, _)| noted - place.start < super::MOST_FUTURE_BYTES)
            .filter(move |(place, _)| place.contains(&noted))
            .map(|(_, owner)| *owner)
    }

    /// Tasks were added in the order of their numbers.
    fn is_start_of_future(&self, noted: u64, owner: usize) -> bool {
        self.futures.binary_search(&(owner, noted)).is_ok()
    }
}

/// Which pages are there.
struct Present<'f> {
    pagemap: &'f std::fs::File,
    /// Of one of the kernel's pages, which may be larger than ours.
    page_bytes: u64,
    /// What was read last: from which of the kernel's pages on.
    first: u64,
    entries: Vec<u8>,
    /// None of these is there.
    is_absent: bool,
}

impl<'f> Present<'f> {
    fn new(pagemap: &'f std::fs::File, page_bytes: u64) -> Self {
        Self {
            pagemap,
            page_bytes,
            first: 0,
            entries: Vec::new(),
            is_absent: true,
        }
    }

    /// How many pages from this one on are not there, as far as was read; 0: it is there.
    fn absent_from(&mut self, page: u64) -> u64 {
        let number = page / self.page_bytes;
        match self.kernels_absent_from(number) {
            0 => 0,
            absent => ((number + absent) * self.page_bytes - page) / PAGE,
        }
    }

    /// The same of the kernel's pages.
    fn kernels_absent_from(&mut self, number: u64) -> u64 {
        let known = self.first..self.first + (self.entries.len() / 8) as u64;
        if !known.contains(&number) {
            self.entries.resize(ENTRIES_BYTES, 0);
            let read = self
                .pagemap
                .read_at(&mut self.entries, number * 8)
                .unwrap_or(0);
            self.entries.truncate(read & !7);
            self.first = number;
            self.is_absent = self
                .entries
                .chunks_exact(8)
                .all(|entry| entry[7] & THERE == 0);
        }
        let at = number - self.first;
        let all = (self.entries.len() / 8) as u64;
        if self.is_absent {
            // None, where nobody tells.
            return all - at;
        }
        let last = self.entries.get((at * 8) as usize + 7);
        u64::from(last.is_some_and(|last| last & THERE == 0))
    }
}

/// What the kernel counts pages by: on aarch64 it may be 16 or 64 KiB.
fn kernels_page_bytes() -> Option<u64> {
    // SAFETY: a question without preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).ok().filter(|bytes| *bytes >= PAGE)
}

/// The stack pointers of threads that sleep.
fn sleeping_stack_ends() -> Vec<u64> {
    let of = |thread: u32| {
        let path = format!("/proc/self/task/{thread}/syscall");
        let line = std::fs::read_to_string(path).ok()?;
        let sp = line.split_ascii_whitespace().rev().nth(1)?;
        u64::from_str_radix(sp.trim_start_matches("0x"), 16).ok()
    };
    let threads = sys::thread_ids().unwrap_or_default();
    threads.into_iter().filter_map(of).collect()
}

const TAGS: u64 = entry::TAGS as u64;
const PAGE: u64 = 4096;
/// Bytes of the kernel's words that are read at once.
const ENTRIES_BYTES: usize = 4096;
/// In the last byte of such a word: in memory, or swapped out.
const THERE: u8 = 0xc0;
const PART_BYTES: u64 = super::BLOCK_BYTES;
/// A quarter of a second's work.
const MOST_BYTES: u64 = 256 << 20;
/// As much work again, in words of the kernel's about pages that are not there.
/// AddressSanitizer reserves 14 TiB, and a sweep of that took minutes.
const MOST_RESERVED_BYTES: u64 = 256 << 30;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pages_are_counted_as_the_kernel_does() {
        let name = format!("everprof-pagemap-{}", sys::process_id());
        let path = std::env::temp_dir().join(name);
        // The kernel's pages 0 to 5, of which 2 and 5 are there.
        let entries = [0, 0, 1_u64 << 63, 0, 0, 1 << 63].map(u64::to_le_bytes);
        std::fs::write(&path, entries.concat()).unwrap();
        let pagemap = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for page_bytes in [PAGE, 16 * PAGE] {
            let mut present = Present::new(&pagemap, page_bytes);
            let pages = page_bytes / PAGE;
            for page in 0..6 * pages {
                let (kernels, absent) = (page / pages, present.absent_from(page * PAGE));
                // One of the kernel's at a time, where others are there.
                let expected = match kernels {
                    2 | 5 => 0,
                    _ => (kernels + 1) * pages - page,
                };
                assert_eq!(absent, expected, "{page} of {page_bytes}");
            }
        }
    }

    fn settled(count: usize, held: &[(usize, &[usize])]) -> Vec<bool> {
        let mut verdict = Verdict {
            alone: vec![true; count],
            held: Vec::new(),
        };
        for (owner, holders) in held {
            verdict.held(*owner, holders.iter().copied());
        }
        verdict.settled()
    }

    #[test]
    fn circle_that_nobody_else_can_get_at_is_alone_as_a_whole() {
        assert_eq!(settled(3, &[(0, &[1]), (1, &[2]), (2, &[0])]), [true; 3]);
        assert_eq!(settled(1, &[(0, &[0])]), [true]);
    }

    #[test]
    fn whoever_can_get_at_one_can_get_at_all_that_it_holds() {
        let chain: &[(usize, &[usize])] = &[(0, &[1]), (1, &[2]), (2, &[])];
        assert_eq!(settled(4, chain), [false, false, false, true]);
        // One of several holders is enough, and a word of its own is none.
        let several: &[(usize, &[usize])] = &[(0, &[1, 2]), (2, &[]), (1, &[1, 2])];
        assert_eq!(settled(3, several), [false, true, false]);
    }
}
