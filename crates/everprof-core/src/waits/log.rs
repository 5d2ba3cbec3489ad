//! Log: the last wakes, each with the wake that its waker owes its own turn to.
//!
//! Context: sampled. No lock, no panic.
//! Invariant: an entry's number says which wake it holds; readers believe it only if the
//! number is the same before and after. What is charged to an entry whose waker is still
//! to be captured is owed to it, and taken by exactly one.
//!
//! *Why.* parking_lot and others park each thread on a word of its own, whatever lock it
//! waits for. The word tells who ended the wait, B, but not who made it so long: where A
//! held the lock before B, and gave it to B, C waited for both. B cannot have held it
//! while B itself waited for it. So the time that C waited is laid along the chain: B is
//! charged from when its own wait ended, A before that, from when A's own had ended, and
//! so on back to where C began to wait:
//!
//! ```text
//!      C waits  |-----------------------------------------|
//!      A holds  ---------|   B waits ---|
//!                        └─wake of B    B holds ----------|─wake of C
//!      charged  |── A ───|─────────── B ──────────────────|
//! ```
//!
//! It is a rule, not a guess, where waits of one kind are for one lock: a waker is never
//! charged for a time in which it waited itself, and everything is charged to somebody.
//! Where a thread's last wait was for another lock of that kind, what that one took may be
//! charged to its holder. Which of both figures is right for a site is known by its
//! name, when the profile is assembled.
//!
//! | state | the entry's waker |
//! |---|---|
//! | `NOBODY` | is not recorded: what is charged to it is what others stand for |
//! | `TO_COME` | will be captured after its call; charges are owed |
//! | other | its bucket in the mutex profile |

use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// One wake.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Entry {
    /// The wake's number; [`WRITING`] while it is written. Numbers begin at 1.
    number: AtomicU64,
    /// When. This, `previous` and `weight`: written before the number.
    time_nanos: AtomicU64,
    /// The number of the wake that ended its waker's own last wait; 0: none.
    previous: AtomicU64,
    /// The low half of the number, and one of the states or a bucket.
    waker: AtomicU64,
    /// What was charged before the bucket was known. Added to by chargers, taken by
    /// whoever finds it known.
    owed_nanos: AtomicU64,
    /// How many wakes it stands for.
    weight: AtomicU32,
    spare: AtomicU32,
    spares: [AtomicU64; 2],
}

/// The log's own record.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct LogRoot {
    /// Where the entries stand, and their number minus 1. Published with the root.
    entries: AtomicU32,
    mask: AtomicU32,
    /// Wakes so far. Written by every wake that is logged.
    last: AtomicU64,
}

/// A wake as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wake {
    pub(crate) time_nanos: u64,
    pub(crate) previous: u64,
    pub(crate) weight: u32,
}

impl NewRecord for Entry {
    fn new_record() -> Self {
        Self {
            number: AtomicU64::new(0),
            time_nanos: AtomicU64::new(0),
            previous: AtomicU64::new(0),
            waker: AtomicU64::new(0),
            owed_nanos: AtomicU64::new(0),
            weight: AtomicU32::new(0),
            spare: AtomicU32::new(0),
            spares: [(); 2].map(|()| AtomicU64::new(0)),
        }
    }
}

impl NewRecord for LogRoot {
    fn new_record() -> Self {
        Self {
            entries: AtomicU32::new(0),
            mask: AtomicU32::new(0),
            last: AtomicU64::new(0),
        }
    }
}
records!(Entry, LogRoot);

/// The log, borrowed from its arena.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    root: &'a LogRoot,
    entries: &'a [Entry],
}

impl<'a> Log<'a> {
    /// Makes it. `None`: no room.
    #[must_use]
    pub fn create(region: Region<'a>) -> Option<Self> {
        let count = entry_count(region.capacity_bytes());
        let entries = region.alloc_spread::<Entry>(count)?;
        let at = region.alloc::<LogRoot>(0)?;
        let root = region.get::<LogRoot>(at)?;
        // Relaxed, both: published with the root.
        root.entries.store(entries.raw(), Ordering::Relaxed);
        root.mask
            .store(u32::try_from(count - 1).ok()?, Ordering::Relaxed);
        region.set_root(Root::WakeLog, at)?;
        Self::open(region)
    }

    /// The one that `create` made in this arena.
    #[must_use]
    pub fn open(region: Region<'a>) -> Option<Self> {
        let root = region.get::<LogRoot>(region.root(Root::WakeLog)?)?;
        // Relaxed, both: published with the root.
        let count = root.mask.load(Ordering::Relaxed) as usize + 1;
        let entries = Offset::from_raw(root.entries.load(Ordering::Relaxed))?;
        Some(Self {
            root,
            entries: region.array(entries, count)?,
        })
    }

    /// Logs a wake; its number. Its waker will be told later if it is `recorded`. 0: another
    /// is being written in its place.
    pub fn add(&self, time_nanos: u64, previous: u64, weight: u32, recorded: bool) -> u64 {
        // Relaxed: a number; which wake has it is published by the entry.
        let number = self.root.last.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(entry) = self.entry(number) else {
            return 0;
        };
        let seen = entry.number.load(Ordering::Relaxed);
        // Acquire: what the writer before wrote is not mixed with this.
        if seen == WRITING
            || entry
                .number
                .compare_exchange(seen, WRITING, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return 0;
        }
        // Release: the stores to come are seen after the mark. Pairs with the Acquire
        // fence in `read`.
        fence(Ordering::Release);
        // Relaxed, all: published by the number.
        entry.time_nanos.store(time_nanos, Ordering::Relaxed);
        entry.previous.store(previous, Ordering::Relaxed);
        entry.weight.store(weight, Ordering::Relaxed);
        entry.owed_nanos.store(0, Ordering::Relaxed);
        let state = if recorded { TO_COME } else { NOBODY };
        entry.waker.store(waker(number, state), Ordering::Relaxed);
        // Release: publishes the above. Pairs with the Acquire in `read`.
        entry.number.store(number, Ordering::Release);
        number
    }

    /// The wake of that number, unless it is too long ago.
    pub(crate) fn read(&self, number: u64) -> Option<Wake> {
        let entry = self.entry(number)?;
        // Acquire: pairs with the Release in `add`.
        if entry.number.load(Ordering::Acquire) != number {
            return None;
        }
        // Relaxed, all: the number is looked at again behind the fence.
        let wake = Wake {
            time_nanos: entry.time_nanos.load(Ordering::Relaxed),
            previous: entry.previous.load(Ordering::Relaxed),
            weight: entry.weight.load(Ordering::Relaxed),
        };
        // Acquire: pairs with the Release fence in `add`.
        fence(Ordering::Acquire);
        (entry.number.load(Ordering::Relaxed) == number).then_some(wake)
    }

    /// Charges the waker of that wake with `nanos`: the bucket to count it in, now, and
    /// how much. `None`: it is not recorded, or whoever records it will count it.
    #[must_use]
    pub fn charge(&self, number: u64, nanos: u64) -> Option<(Offset, u64)> {
        let entry = self.entry(number)?;
        // Acquire: pairs with the Release in `tell`; the bucket is linked.
        let state = state_of(entry.waker.load(Ordering::Acquire), number)?;
        match state {
            NOBODY => None,
            TO_COME => {
                // AcqRel: pairs with the same of whoever takes it: either that sees this
                // addition, or what follows here sees the bucket.
                entry.owed_nanos.fetch_add(nanos, Ordering::AcqRel);
                let state = state_of(entry.waker.load(Ordering::Acquire), number)?;
                if state == TO_COME {
                    return None;
                }
                Some((Offset::from_raw(state)?, entry.take_owed()))
            }
            bucket => Some((Offset::from_raw(bucket)?, nanos)),
        }
    }

    /// The waker's bucket is known: what it was charged with in the meantime.
    #[must_use]
    pub fn tell(&self, number: u64, bucket: Offset) -> u64 {
        let Some(entry) = self.entry(number) else {
            return 0;
        };
        // Release: publishes the bucket; pairs with the Acquire in `charge`.
        let told = entry.waker.compare_exchange(
            waker(number, TO_COME),
            waker(number, bucket.raw()),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if told.is_ok() { entry.take_owed() } else { 0 }
    }

    /// Nothing is logged: in a fork's child, where only one thread is.
    pub(crate) fn reset(&self) {
        for entry in self.entries {
            // Relaxed, both: as above. Pages that nobody wrote stay untouched.
            if entry.number.load(Ordering::Relaxed) != 0 {
                entry.number.store(0, Ordering::Relaxed);
                entry.waker.store(0, Ordering::Relaxed);
            }
        }
    }

    fn entry(&self, number: u64) -> Option<&'a Entry> {
        if number == 0 {
            return None;
        }
        self.entries.get(number as usize & (self.entries.len() - 1))
    }
}

impl Entry {
    fn take_owed(&self) -> u64 {
        // AcqRel: see `charge`.
        self.owed_nanos.swap(0, Ordering::AcqRel)
    }
}

fn waker(number: u64, state: u32) -> u64 {
    number << 32 | u64::from(state)
}

/// The state, if it is that wake's: numbers differ in their low half, but for those four
/// billion wakes apart.
fn state_of(waker: u64, number: u64) -> Option<u32> {
    (waker >> 32 == number & 0xffff_ffff).then_some(waker as u32)
}

const NOBODY: u32 = 0;
/// No record stands at the first bytes.
const TO_COME: u32 = 1;
const WRITING: u64 = u64::MAX;

/// As many as there are records of addresses: 4,096 wakes are milliseconds of the busiest
/// lock, and longer than the longest chain.
#[cfg(not(any(everprof_loom, miri)))]
fn entry_count(capacity_bytes: usize) -> usize {
    (capacity_bytes >> 12).clamp(16, 4096).next_power_of_two()
}

/// Few, so that models reach the end.
#[cfg(any(everprof_loom, miri))]
fn entry_count(_capacity_bytes: usize) -> usize {
    4
}

#[cfg(not(everprof_loom))]
const _: () = assert!(size_of::<Entry>() == 64);

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arena::Arena;

    #[test]
    fn wakes_are_read_until_they_are_overwritten() {
        let arena = Arena::anonymous(0).unwrap();
        let region = arena.region();
        let log = Log::create(region).unwrap();
        let count = log.entries.len() as u64;
        for n in 1..=count + 1 {
            assert_eq!(log.add(n * 10, n - 1, 1, false), n);
        }
        assert_eq!(log.read(1), None);
        let wake = log.read(2).unwrap();
        assert_eq!((wake.time_nanos, wake.previous), (20, 1));
        assert_eq!(log.read(0), None);
        assert_eq!(log.read(count + 2), None);
    }

    #[test]
    fn charges_before_and_after_the_waker_is_known_are_all_counted() {
        let arena = Arena::anonymous(0).unwrap();
        let region = arena.region();
        let log = Log::create(region).unwrap();
        let number = log.add(10, 0, 4, true);
        let bucket = Offset::from_raw(99).unwrap();
        assert_eq!(log.charge(number, 5), None);
        assert_eq!(log.charge(number, 7), None);
        assert_eq!(log.tell(number, bucket), 12);
        assert_eq!(log.charge(number, 3), Some((bucket, 3)));
        let other = log.add(20, 0, 1, false);
        assert_eq!(log.charge(other, 3), None);
    }
}
