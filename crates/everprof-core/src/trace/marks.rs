//! Marks: which objects were moved up within their blocks because a trace wanted to see
//! them freed.
//!
//! Context: sampled; `prepare` is cold. Invariant: the marks of an object are set before
//! its address is handed out, and cleared by whoever frees it, before its block goes back.
//! They say what the block is for as long as it is there, also when no trace is taken any
//! more, and in a fork's child.
//!
//! An address is all that a free is told, and it must find its own object's mark, never a
//! neighbour's. Two bits for each multiple of 8 say whether the object there is marked, and
//! whether it was moved. The bits stand in tables of one GiB of addresses each, made when the
//! first object there is marked; only what is used of them takes memory, 1/32 of the
//! program's heap at most.
//!
//! Objects at other addresses, which allocators that pack bytes give out, and those that there
//! is no memory of a table for, are kept in a list. When half of it is taken `mark` says so,
//! and the trace must stop; the other half is for the allocations under way then, one a
//! thread. No trace begins before there is room again.

use std::ptr::NonNull;

use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use crate::sys;

/// A table's words; 32 places of 8 bytes each.
type Table = AtomicU64;

/// Bytes of address space of one table.
const SPAN_BITS: u32 = if cfg!(miri) { 12 } else { 30 };
const PLACES_A_WORD: u64 = 32;
const PLACE_BYTES: u64 = 8;
const TABLE_WORDS: usize = ((1 << SPAN_BITS) / PLACE_BYTES / PLACES_A_WORD) as usize;

/// Address space that programs have: 2⁴⁸ on aarch64, half of that on x86_64. Under Miri, which
/// touches each word of what is mapped, that of a few tables; the rest is listed.
const ADDRESS_BITS: u32 = if cfg!(miri) { 20 } else { 48 };
const TABLES: usize = 1 << (ADDRESS_BITS - SPAN_BITS);

const LISTED: usize = if cfg!(miri) { 64 } else { 8192 };
/// Objects in the list from which on no more may come. The rest are more than allocations can
/// be under way: one a thread, and a few more in handlers.
const MOST_LISTED: u64 = LISTED as u64 / 2;

const MARKED: u64 = 1;
const MOVED: u64 = 2;

/// The marks. All zero at first: none.
#[derive(Debug)]
pub(crate) struct Marks {
    /// The tables, by the upper bits of the address. Null until a trace is prepared for;
    /// then [`TABLES`] words, each null until its table is made. Never given back.
    tables: AtomicPtr<AtomicPtr<Table>>,
    /// Objects that have no bits: twice the address, and 1 more if it was moved. 0: free.
    list: [AtomicU64; LISTED],
    /// How many are in the list.
    listed: AtomicU64,
}

/// What is known of a marked object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// It stands some way into its block.
    pub moved: bool,
}

impl Marks {
    pub(crate) const fn new() -> Self {
        Self {
            tables: AtomicPtr::new(std::ptr::null_mut()),
            list: [const { AtomicU64::new(0) }; LISTED],
            listed: AtomicU64::new(0),
        }
    }

    /// Makes what marking needs. False: no memory, or no room in the list. Cold.
    pub(crate) fn prepare(&self) -> bool {
        // Relaxed: a figure.
        if self.listed.load(Ordering::Relaxed) >= MOST_LISTED {
            return false;
        }
        // Acquire: pairs with the Release below.
        if !self.tables.load(Ordering::Acquire).is_null() {
            return true;
        }
        let bytes = TABLES * size_of::<AtomicPtr<Table>>();
        let Some(made) = sys::map_private(bytes) else {
            return false;
        };
        publish(&self.tables, made, bytes);
        true
    }

    /// Marks the object at `address`. False: no more may come.
    pub(crate) fn mark(&self, address: u64, mark: Mark) -> bool {
        if address.is_multiple_of(PLACE_BYTES) {
            let bits = MARKED | if mark.moved { MOVED } else { 0 };
            if let Some(word) = self.word(address, true) {
                // Relaxed: whoever frees the object has got its address from here.
                word.fetch_or(bits << shift(address), Ordering::Relaxed);
                return true;
            }
            // The list is for those under way: its room is not to be used up.
            self.enlist(address, mark);
            return false;
        }
        self.enlist(address, mark) < MOST_LISTED
    }

    /// Puts the object into the list; how many are there now.
    #[cold]
    fn enlist(&self, address: u64, mark: Mark) -> u64 {
        let entry = entry(address, mark);
        // Relaxed, all: see `mark`.
        let _ = self.places(address).find(|place| {
            place
                .compare_exchange(0, entry, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        });
        self.listed.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Clears the marks of the object at `address`; none: it has none.
    #[inline]
    pub(crate) fn take(&self, address: u64) -> Option<Mark> {
        if address.is_multiple_of(PLACE_BYTES)
            && let Some(word) = self.word(address, false)
        {
            let shift = shift(address);
            let mask = (MARKED | MOVED) << shift;
            // Relaxed, both: see `mark`. Looked at first: a load where there is none.
            if word.load(Ordering::Relaxed) & mask != 0 {
                let bits = word.fetch_and(!mask, Ordering::Relaxed) >> shift;
                return (bits & MARKED != 0).then_some(Mark {
                    moved: bits & MOVED != 0,
                });
            }
        }
        // Relaxed: see `mark`; an object's own entry is counted before its address is known.
        if self.listed.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.take_listed(address)
    }

    #[cold]
    fn take_listed(&self, address: u64) -> Option<Mark> {
        // Relaxed, all: see `mark`.
        let mark = self.places(address).find_map(|place| {
            let seen = place.load(Ordering::Relaxed);
            if seen >> 1 != address {
                return None;
            }
            place
                .compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed)
                .ok()?;
            let moved = seen & 1 != 0;
            Some(Mark { moved })
        })?;
        self.listed.fetch_sub(1, Ordering::Relaxed);
        Some(mark)
    }

    /// The list, from where the object is likely to be.
    fn places(&self, address: u64) -> impl Iterator<Item = &AtomicU64> {
        let (before, from) = self.list.split_at(address as usize % LISTED);
        from.iter().chain(before)
    }

    /// The word that has the marks of `address`.
    #[inline]
    fn word(&self, address: u64, make: bool) -> Option<&AtomicU64> {
        // Acquire: pairs with the Release in `publish`; the slots are zeroed memory.
        let tables = NonNull::new(self.tables.load(Ordering::Acquire))?;
        let index = usize::try_from(address >> SPAN_BITS).ok()?;
        if index >= TABLES {
            return None;
        }
        // SAFETY: `prepare` mapped `TABLES` pointers there, and never gives them back.
        let slot = unsafe { tables.add(index) };
        // SAFETY: as above; zeroed memory is a null `AtomicPtr`.
        let slot = unsafe { slot.as_ref() };
        // Acquire: as above.
        let mut table = NonNull::new(slot.load(Ordering::Acquire));
        if table.is_none() && make {
            table = self::make(slot);
        }
        let place = address / PLACE_BYTES;
        let at = (place / PLACES_A_WORD) as usize % TABLE_WORDS;
        // SAFETY: a table has `TABLE_WORDS` words (`make`), which are never given back.
        let word = unsafe { table?.add(at) };
        // SAFETY: as above; zeroed memory is an `AtomicU64`.
        Some(unsafe { word.as_ref() })
    }
}

/// Where the two bits of an address stand in their word.
#[inline]
fn shift(address: u64) -> u32 {
    ((address / PLACE_BYTES) % PLACES_A_WORD) as u32 * 2
}

/// The object as the list has it. No program has the topmost bit in its addresses.
#[inline]
fn entry(address: u64, mark: Mark) -> u64 {
    address << 1 | u64::from(mark.moved)
}

#[cold]
fn make(slot: &AtomicPtr<Table>) -> Option<NonNull<Table>> {
    let bytes = TABLE_WORDS * size_of::<Table>();
    Some(publish(slot, sys::map_private(bytes)?, bytes))
}

/// Stores zeroed memory of `bytes` where others find it, or takes what is there already.
fn publish<T>(at: &AtomicPtr<T>, made: NonNull<u8>, bytes: usize) -> NonNull<T> {
    // Release: publishes the memory. Acquire: another's. Both pair with the loads above.
    let published = at.compare_exchange(
        std::ptr::null_mut(),
        made.cast().as_ptr(),
        Ordering::Release,
        Ordering::Acquire,
    );
    match published.map_err(NonNull::new) {
        Err(Some(others)) => {
            // SAFETY: the whole mapping that the caller made, which nobody has seen.
            unsafe { sys::unmap(made, bytes) };
            others
        }
        _ => made.cast(),
    }
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    /// Where heaps are.
    const HIGH: u64 = if cfg!(miri) {
        0xf_0000
    } else {
        0x7f00_0000_0000
    };

    const MOVED_UP: Mark = Mark { moved: true };
    const IN_PLACE: Mark = Mark { moved: false };

    #[test]
    fn mark_is_there_until_it_is_taken() {
        static MARKS: Marks = Marks::new();
        let marks = &MARKS;
        assert!(marks.prepare() && marks.prepare());
        let low = HIGH / 2 + 0x1008;
        assert_eq!(marks.take(HIGH + 0x1008), None);
        assert!(marks.mark(HIGH + 0x1008, MOVED_UP));
        assert!(marks.mark(HIGH + 0x1018, IN_PLACE));
        assert!(marks.mark(low, IN_PLACE));
        assert_eq!(marks.take(HIGH + 0x1008), Some(MOVED_UP));
        assert_eq!(marks.take(HIGH + 0x1008), None);
        assert_eq!(marks.take(HIGH + 0x1018), Some(IN_PLACE));
        assert_eq!(marks.take(low), Some(IN_PLACE));
    }

    #[test]
    fn neighbours_do_not_disturb_one_another() {
        static MARKS: Marks = Marks::new();
        let marks = &MARKS;
        assert!(marks.prepare());
        let addresses = (0..200).map(|place| HIGH + 8 + place * 16);
        for address in addresses.clone() {
            assert!(marks.mark(
                address,
                Mark {
                    moved: address & 16 != 0
                }
            ));
        }
        for address in addresses {
            let moved = address & 16 != 0;
            assert_eq!(marks.take(address), Some(Mark { moved }));
        }
    }

    /// Allocators that pack put an object of align 16 and one of align 8, or two of a byte,
    /// into 16 bytes; both have the bit that asks for marks.
    #[test]
    fn neighbours_within_16_bytes_have_marks_of_their_own() {
        static MARKS: [Marks; 3] = [const { Marks::new() }; 3];
        let pairs = [(0x1010, 0x1018), (0x1018, 0x1019), (0x1019, 0x101f)];
        for (marks, (one, other)) in MARKS.iter().zip(pairs) {
            assert!(marks.prepare());
            assert!(marks.mark(one, MOVED_UP));
            assert_eq!(marks.take(other), None, "was not marked");
            assert!(marks.mark(other, IN_PLACE));
            assert_eq!(marks.take(other), Some(IN_PLACE));
            assert_eq!(marks.take(other), None);
            assert_eq!(marks.take(one), Some(MOVED_UP));
            assert_eq!(marks.take(one), None);
        }
    }

    #[test]
    fn full_list_is_told_of_while_there_is_room_for_those_under_way() {
        static MARKS: Marks = Marks::new();
        let marks = &MARKS;
        assert!(marks.prepare());
        let mut listed: Vec<u64> = (0..MOST_LISTED).map(|number| 0x1001 + number * 8).collect();
        let told = listed.iter().map(|at| marks.mark(*at, MOVED_UP));
        assert_eq!(told.filter(|told| !told).count(), 1, "the last");
        assert!(!marks.prepare(), "no trace begins");
        let under_way = (0..MOST_LISTED / 4).map(|number| 0x9000_0001 + number * 8);
        for at in under_way {
            assert!(!marks.mark(at, MOVED_UP));
            listed.push(at);
        }
        for at in listed {
            assert_eq!(marks.take(at), Some(MOVED_UP));
        }
        assert!(marks.prepare());
        assert_eq!(marks.listed.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn object_that_has_no_table_is_marked_all_the_same() {
        static MARKS: Marks = Marks::new();
        let marks = &MARKS;
        // Not prepared: as if there were no memory.
        assert!(!marks.mark(0x1008, MOVED_UP) && !marks.mark(0x1018, IN_PLACE));
        assert!(marks.prepare());
        assert_eq!(marks.take(0x1028), None);
        assert_eq!(marks.take(0x1018), Some(IN_PLACE));
        assert_eq!(marks.take(0x1008), Some(MOVED_UP));
        assert_eq!(marks.take(0x1008), None);
        // Beyond what any table covers.
        assert!(!marks.mark(1 << 52 | 8, MOVED_UP));
        assert_eq!(marks.take(1 << 52 | 8), Some(MOVED_UP));
    }
}
