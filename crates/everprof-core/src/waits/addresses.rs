//! Addresses: how long all who wait for one have waited, and what of it was charged.
//!
//! Context: sampled. No lock, no panic.
//! Invariant: a record changes its address only while it is claimed, and is claimed only
//! when nobody waits there. Of two records with one address at most one is not claimed.
//! So who has added itself to a word that was not claimed holds the record.
//!
//! | step | who | does |
//! |---|---|---|
//! | come | waiter | adds itself to the [`Word`]; was that claimed, or is the address another: takes itself off again |
//! | leave | waiter | adds the end of its wait: the last wake, if a wake ended it |
//! | wake | waker, before the call | `last_wake` ← now; `charged` ← W(now), if that is ahead; the difference is its charge |
//! | claim | waiter of another address | swaps a word with no waiters for itself, claimed; writes the address; looks for a second record; takes the claim off |
//!
//! Two threads that claim a record each for one address: each writes the address, then
//! looks at the others, with a sequentially consistent fence in between, so that at least
//! one sees the other. Whoever sees another gives way, even if both do.
//!
//! *Why charges add up.* `charged` only moves forward, by swaps, and each wake charges what
//! it moved: whatever wakes race, the charges add up to how far `charged` came. A waiter who
//! was woken leaves with the time of the last wake at the latest, so W never falls behind
//! what was charged. (One whose wake comes between its look at `last_wake` and its leaving
//! leaves W behind by that little, and the next charges are less by it.)

use super::waiters::{Site, Waiters};
use super::word::{Units, Word, ahead};
use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// What is known of one address that is, or was, waited for.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Record {
    /// The [`Word`]. Written by waiters, and by whoever claims.
    word: AtomicU64,
    /// 0: none yet. Written by whoever claimed the word; published by the claim's end.
    address: AtomicU64,
    /// As [`Units`]: W when it was last charged. Written by wakers, and as `address`.
    charged: AtomicU64,
    /// On the monotonic clock; 0: none yet. As `charged`.
    last_wake_nanos: AtomicU64,
    /// Who they are.
    waiters: Waiters,
}

/// The table's own record.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct AddressesRoot {
    /// Where the records stand, and their number minus 1. Published with the root.
    records: AtomicU32,
    mask: AtomicU32,
}

impl NewRecord for Record {
    fn new_record() -> Self {
        Self {
            word: AtomicU64::new(0),
            address: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            last_wake_nanos: AtomicU64::new(0),
            waiters: Waiters::new_record(),
        }
    }
}

impl NewRecord for AddressesRoot {
    fn new_record() -> Self {
        Self {
            records: AtomicU32::new(0),
            mask: AtomicU32::new(0),
        }
    }
}
records!(Record, AddressesRoot);

/// What a wake is charged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Nanoseconds that waiters waited since the charge before.
    pub nanos: u64,
    /// When.
    pub(crate) now_nanos: u64,
    /// Where they wait.
    pub(crate) site: Site,
    /// The record that counts them.
    pub(crate) record: u16,
    /// Whether it is one thread, and no other ever waits there, as far as is known.
    pub(crate) alone: bool,
}

/// All records, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'a> {
    records: &'a [Record],
}

impl<'a> Addresses<'a> {
    /// Makes them. `None`: no room.
    #[must_use]
    pub fn create(region: Region<'a>) -> Option<Self> {
        let count = record_count(region.capacity_bytes());
        let records = region.alloc_spread::<Record>(count)?;
        let at = region.alloc::<AddressesRoot>(0)?;
        let root = region.get::<AddressesRoot>(at)?;
        // Relaxed, both: published with the root.
        root.records.store(records.raw(), Ordering::Relaxed);
        root.mask
            .store(u32::try_from(count - 1).ok()?, Ordering::Relaxed);
        region.set_root(Root::WaitAddresses, at)?;
        Self::open(region)
    }

    /// Those that `create` made in this arena.
    #[must_use]
    #[inline]
    pub fn open(region: Region<'a>) -> Option<Self> {
        let root = region.get::<AddressesRoot>(region.root(Root::WaitAddresses)?)?;
        // Relaxed, both: published with the root.
        let count = root.mask.load(Ordering::Relaxed) as usize + 1;
        let at = Offset::from_raw(root.records.load(Ordering::Relaxed))?;
        Some(Self {
            records: region.array(at, count)?,
        })
    }

    /// Counts a waiter for `address` from `start` on; the number of its record. Whatever
    /// was not charged of another address whose record is taken is told to `forget`.
    /// `None`: there is no room near its place, or too much is going on there.
    #[inline]
    pub fn come(&self, address: u64, start: Units, forget: impl FnMut(u64)) -> Option<u16> {
        match self.find(address) {
            Some((index, record)) if enter(record, address, start) => Some(index),
            _ => self.come_anew(address, start, forget),
        }
    }

    #[cold]
    fn come_anew(&self, address: u64, start: Units, mut forget: impl FnMut(u64)) -> Option<u16> {
        // Others may take what was found, or be making what was not; more than twice
        // in a row means that it is crowded.
        for _ in 0..TRIES {
            if self.find(address).is_none() {
                self.claim(address, &mut forget);
            }
            if let Some((index, record)) = self.find(address)
                && enter(record, address, start)
            {
                return Some(index);
            }
        }
        None
    }

    /// The waiter that was counted in `record` leaves, having waited until `now_nanos`,
    /// or, if it was `woken`, until the last wake.
    #[inline]
    pub fn leave(&self, record: u16, start: Units, now_nanos: u64, woken: bool) {
        let Some(record) = self.records.get(record as usize) else {
            return;
        };
        let now = Units::of_nanos(now_nanos);
        let end = if woken {
            // Acquire: pairs with the Release in `charge`, where the kernel did not order
            // them anyway.
            let last_nanos = record.last_wake_nanos.load(Ordering::Acquire);
            let last = Units::of_nanos(last_nanos);
            // Not by comparing two times modulo 52 days, but by how long ago they were.
            if Units::of_nanos(now_nanos.saturating_sub(last_nanos)) < now.since(start) {
                last
            } else {
                start
            }
        } else {
            now
        };
        // Release: pairs with the Acquire of the claim, so that what belongs to the
        // address before is not written any more.
        record.word.fetch_add(Word::leaving(end), Ordering::Release);
    }

    /// What a wake of `address` is charged with. To be asked before it is done, as the
    /// waiters may be gone after it. `now` is asked only where somebody waits.
    #[inline]
    pub fn wake(&self, address: u64, now: impl FnOnce() -> u64) -> Option<Charge> {
        let (index, record) = self.find(address)?;
        // Acquire: pairs with the Release that ended the claim.
        let word = Word(record.word.load(Ordering::Acquire));
        // Relaxed: looked at again by the swap.
        let charged = Units(record.charged.load(Ordering::Relaxed));
        if word.waiters() == 0 && (word.is_claimed() || word.waited(Units(0)) == charged) {
            return None;
        }
        charge(index, record, address, now())
    }

    /// The record's address; 0: none.
    pub(crate) fn address(&self, record: u16) -> u64 {
        // Relaxed: for whoever waits there it does not change.
        self.records
            .get(record as usize)
            .map_or(0, |record| record.address.load(Ordering::Relaxed))
    }

    /// How many are counted at an address. For tests.
    #[must_use]
    pub fn waiters(&self, address: u64) -> u64 {
        self.find(address).map_or(0, |(_, record)| {
            Word(record.word.load(Ordering::Relaxed)).waiters()
        })
    }

    /// What is known of those who are counted in the record.
    #[inline]
    pub(crate) fn waiters_of(&self, record: u16) -> Option<&'a Waiters> {
        self.records
            .get(record as usize)
            .map(|record| &record.waiters)
    }

    /// Nobody waits, nothing is charged: in a fork's child, where only one thread is.
    pub(crate) fn reset(&self) {
        for record in self.records {
            // Relaxed, all: as above. Pages that nobody wrote stay untouched.
            if record.address.load(Ordering::Relaxed) == 0
                && record.word.load(Ordering::Relaxed) == 0
            {
                continue;
            }
            record.word.store(0, Ordering::Relaxed);
            record.address.store(0, Ordering::Relaxed);
            record.charged.store(0, Ordering::Relaxed);
            record.last_wake_nanos.store(0, Ordering::Relaxed);
            record.waiters.forget();
        }
    }

    /// The record of an address. Another may have it by the time it is used.
    #[inline]
    fn find(&self, address: u64) -> Option<(u16, &'a Record)> {
        self.window(address)
            // Relaxed: looked at again once its word is held.
            .find(|(_, record)| record.address.load(Ordering::Relaxed) == address)
    }

    #[inline]
    fn window(&self, address: u64) -> impl Iterator<Item = (u16, &'a Record)> + use<'a> {
        let (records, start) = (self.records, hash(address));
        (0..WINDOW.min(records.len())).filter_map(move |step| {
            let at = start.wrapping_add(step) & (records.len() - 1);
            Some((at as u16, records.get(at)?))
        })
    }

    /// Gives the address a record, if one of those near its place can be had.
    fn claim(&self, address: u64, forget: &mut impl FnMut(u64)) -> Option<()> {
        let (index, record, word) = self
            .window(address)
            .filter_map(|(index, record)| {
                // Relaxed, both: looked at again by the swap.
                let word = Word(record.word.load(Ordering::Relaxed));
                let fresh = record.address.load(Ordering::Relaxed) == 0;
                (word.waiters() == 0 && !word.is_claimed()).then_some((fresh, index, record, word))
            })
            // The first that is fresh, else the first at all.
            .reduce(|best, next| if next.0 && !best.0 { next } else { best })
            .map(|(_, index, record, word)| (index, record, word))?;
        // Acquire: pairs with the Release in `leave`: the last waiter is done here.
        record
            .word
            .compare_exchange(
                word.0,
                word.0 | Word::CLAIM,
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .ok()?;
        // Relaxed, all to the fence: published by the end of the claim. From here on M
        // stays as it is, but for those who come in vain and take themselves off again.
        let total = word.waited(Units(0));
        let charged = Units(record.charged.load(Ordering::Relaxed));
        record.address.store(address, Ordering::Relaxed);
        record.charged.store(total.0, Ordering::Relaxed);
        record.last_wake_nanos.store(0, Ordering::Relaxed);
        record.waiters.forget();
        // SeqCst: between this thread's store of the address and its loads of others',
        // pairs with the same fence of another that claims: one of both sees the other
        // (store buffering; modelled in `loom_waits`).
        fence(Ordering::SeqCst);
        let second = self.window(address).any(|(other, record)| {
            other != index && record.address.load(Ordering::Relaxed) == address
        });
        if second {
            record.address.store(0, Ordering::Relaxed);
        }
        // Release: publishes the above. Pairs with the Acquire in `enter` and `wake`.
        record.word.fetch_sub(Word::CLAIM, Ordering::Release);
        let forgotten = ahead(total, charged).nanos();
        if forgotten != 0 {
            forget(forgotten);
        }
        Some(())
    }
}

/// Adds a waiter to a record, unless it is, or is about to be, another address'.
#[inline]
fn enter(record: &Record, address: u64, start: Units) -> bool {
    let coming = Word::coming(start);
    // Acquire: pairs with the Release that ended the claim: the address is that of now.
    let before = Word(record.word.fetch_add(coming, Ordering::Acquire));
    // Relaxed: as long as this waiter is counted nobody changes it.
    if before.admits() && record.address.load(Ordering::Relaxed) == address {
        return true;
    }
    // Release: as in `leave`.
    record.word.fetch_sub(coming, Ordering::Release);
    false
}

fn charge(index: u16, record: &Record, address: u64, now_nanos: u64) -> Option<Charge> {
    let now = Units::of_nanos(now_nanos);
    // Release: pairs with the Acquire in `leave`: who was woken by this wake sees it.
    record
        .last_wake_nanos
        .fetch_max(now_nanos, Ordering::Release);
    // Relaxed: looked at again by the swap.
    let mut charged = record.charged.load(Ordering::Relaxed);
    loop {
        // Acquire: as in `wake`.
        let word = Word(record.word.load(Ordering::Acquire));
        // Relaxed: a waker does not hold the record. One that is given away just here
        // charges a moment of another address' waiters, exactly once all the same.
        if word.is_claimed() || record.address.load(Ordering::Relaxed) != address {
            return None;
        }
        let waited = word.waited(now);
        let more = ahead(waited, Units(charged));
        if more == Units(0) {
            return None;
        }
        // Relaxed, both: a figure; each wake charges what it moved it by.
        match record.charged.compare_exchange_weak(
            charged,
            waited.0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            Ok(_) => {
                return Some(Charge {
                    nanos: more.nanos(),
                    now_nanos,
                    site: record.waiters.site(),
                    record: index,
                    alone: word.waiters() == 1 && record.waiters.are_one(),
                });
            }
            Err(seen) => charged = seen,
        }
    }
}

/// Locks stand at multiples of 4; those of an array stand in a row, and should not share
/// a window.
#[inline]
fn hash(address: u64) -> usize {
    ((address >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
}

/// One for each 4 KiB of the arena, at most 4,096 (256 KiB, touched as they are used): a
/// few times as many as threads that can wait at once on a large machine. The smallest
/// arena has room for 16, or the heap's buckets would have none.
#[cfg(not(any(everprof_loom, miri)))]
fn record_count(capacity_bytes: usize) -> usize {
    (capacity_bytes >> 12).clamp(16, 4096).next_power_of_two()
}

/// Few, so that models and tests reach a full window.
#[cfg(any(everprof_loom, miri))]
fn record_count(_capacity_bytes: usize) -> usize {
    2
}

/// Two cache lines' worth of look-ups by the prefetcher; with 4,096 records and 1,000
/// addresses waited for at once one in 10⁵ finds it full.
const WINDOW: usize = 8;
const TRIES: usize = 3;

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Record>() == 64);

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arena::Arena;

    fn at(micros: u64) -> Units {
        Units::of_nanos(micros * 1_000)
    }

    fn wake(addresses: &Addresses<'_>, address: u64, micros: u64) -> u64 {
        addresses
            .wake(address, || micros * 1_000)
            .map_or(0, |charge| charge.nanos)
    }

    #[test]
    fn wake_is_charged_what_others_waited_since_the_last() {
        let arena = Arena::anonymous(0).unwrap();
        let addresses = Addresses::create(arena.region()).unwrap();
        assert_eq!(wake(&addresses, 0x40, 1), 0, "nobody waits");
        let first = addresses.come(0x40, at(16), |_| ()).unwrap();
        let second = addresses.come(0x40, at(32), |_| ()).unwrap();
        assert_eq!(first, second);
        assert_eq!(wake(&addresses, 0x40, 48), 48_000);
        addresses.leave(first, at(16), 50_000, true);
        assert_eq!(wake(&addresses, 0x40, 64), 16_000, "one still waits");
        addresses.leave(second, at(32), 80_000, true);
        assert_eq!(wake(&addresses, 0x40, 96), 0, "its way to the processor");
        assert_eq!(addresses.waiters(0x40), 0);
    }

    #[test]
    fn who_timed_out_waited_until_then() {
        let arena = Arena::anonymous(0).unwrap();
        let addresses = Addresses::create(arena.region()).unwrap();
        let record = addresses.come(0x40, at(16), |_| ()).unwrap();
        addresses.leave(record, at(16), 32_000, false);
        assert_eq!(wake(&addresses, 0x40, 48), 16_000);
        assert_eq!(wake(&addresses, 0x40, 64), 0);
    }

    #[test]
    fn record_is_given_away_when_nobody_waits_and_never_before() {
        let arena = Arena::anonymous(0).unwrap();
        let addresses = Addresses::create(arena.region()).unwrap();
        let mut left = Vec::new();
        let mut refused = 0;
        for n in 1..=1_000u64 {
            match addresses.come(n * 64, at(n), |_| ()) {
                Some(record) => left.push((record, n)),
                None => refused += 1,
            }
        }
        assert_eq!(left.len() + refused, 1_000);
        assert!(left.len() > addresses.records.len() / 2);
        for (record, n) in &left {
            assert_eq!(addresses.waiters(n * 64), 1);
            addresses.leave(*record, at(*n), 2_000_000, false);
        }
        let mut forgotten = 0;
        for n in 2_000..3_000u64 {
            let record = addresses.come(n * 64, at(n), |nanos| forgotten += nanos);
            let record = record.unwrap();
            assert_eq!(wake(&addresses, n * 64, n + 16), 16_000);
            addresses.leave(record, at(n), (n + 20) * 1_000, true);
        }
        assert!(forgotten > 0, "what nobody was charged with is told");
    }
}
