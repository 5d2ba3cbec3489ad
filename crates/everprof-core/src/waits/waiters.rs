//! Waiters: what a record of an address knows of those who wait there, besides how many.
//!
//! Context: sampled. Invariant: none hangs on another; each figure is the last one noted.
//! They are hints: a site that is a tenth of a millisecond old, a thread that waited here
//! twice in a row.
//!
//! A word that one thread alone ever waits on is that thread's place to park, and says
//! nothing about the lock; [`super::log`] then finds out who held that.

use crate::arena::NewRecord;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Of one record. Written by waiters, but for `entry`; read by wakers. All Relaxed, as
/// the head says.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Waiters {
    /// The stack that leads into the lock, as a number; 0: not known.
    site: AtomicU32,
    /// When the site was taken, in ticks of 65 µs.
    site_ticks: AtomicU32,
    /// The low half of the stack pointer there.
    site_sp: AtomicU32,
    /// The last waiter's thread, and whether the one before it, if any, was the same.
    owner: AtomicU32,
    /// The code that waits, see [`Site`].
    kind: AtomicU64,
    /// The last wake's number in the log; 0: none. Written by wakers.
    entry: AtomicU64,
}

/// Where somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Site {
    /// The number of its stack; 0: not known.
    pub(crate) number: u32,
    /// The return address in the lock's own code, which tells a mutex from a channel
    /// that parks by the same means; 0: not known.
    pub(crate) kind: u64,
}

impl NewRecord for Waiters {
    fn new_record() -> Self {
        Self {
            site: AtomicU32::new(0),
            site_ticks: AtomicU32::new(0),
            site_sp: AtomicU32::new(0),
            owner: AtomicU32::new(0),
            kind: AtomicU64::new(0),
            entry: AtomicU64::new(0),
        }
    }
}

impl Waiters {
    /// Thread `tid` waits at `sp`. True: its site must be taken (anew).
    #[inline]
    pub(crate) fn meet(&self, tid: u32, sp: u64, now_nanos: u64) -> bool {
        let before = self.owner.load(Ordering::Relaxed);
        let owner = if before == 0 || before >> 1 == tid {
            tid << 1 | 1
        } else {
            tid << 1
        };
        if owner != before {
            self.owner.store(owner, Ordering::Relaxed);
        }
        let age = ticks(now_nanos).wrapping_sub(self.site_ticks.load(Ordering::Relaxed));
        // One thread's waits differ in depth where they differ in kind, most times.
        let moved = owner & 1 == 1 && self.site_sp.load(Ordering::Relaxed) != sp as u32;
        self.site.load(Ordering::Relaxed) == 0 || age > SITE_AGE_TICKS || moved
    }

    /// Notes the site of a waiter.
    pub(crate) fn note(&self, site: Site, sp: u64, now_nanos: u64) {
        self.site.store(site.number, Ordering::Relaxed);
        self.kind.store(site.kind, Ordering::Relaxed);
        self.site_sp.store(sp as u32, Ordering::Relaxed);
        self.site_ticks.store(ticks(now_nanos), Ordering::Relaxed);
    }

    /// Where they wait.
    #[inline]
    pub(crate) fn site(&self) -> Site {
        Site {
            number: self.site.load(Ordering::Relaxed),
            kind: self.kind.load(Ordering::Relaxed),
        }
    }

    /// Whether one thread alone waits here, as far as the last two waits say.
    #[inline]
    pub(crate) fn are_one(&self) -> bool {
        self.owner.load(Ordering::Relaxed) & 1 == 1
    }

    /// The last wake's number in the log, if it has one.
    #[inline]
    pub(crate) fn entry(&self) -> u64 {
        self.entry.load(Ordering::Relaxed)
    }

    /// Notes it.
    pub(crate) fn set_entry(&self, entry: u64) {
        self.entry.store(entry, Ordering::Relaxed);
    }

    /// Nobody is known: the record is another address' now.
    pub(crate) fn forget(&self) {
        self.site.store(0, Ordering::Relaxed);
        self.kind.store(0, Ordering::Relaxed);
        self.owner.store(0, Ordering::Relaxed);
        self.entry.store(0, Ordering::Relaxed);
    }
}

fn ticks(nanos: u64) -> u32 {
    (nanos >> 16) as u32
}

/// A site is looked at again where memory may have become another lock: a capture of
/// 0.2 µs in 131 µs or more is below two thousandths.
const SITE_AGE_TICKS: u32 = 1;

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    const AT: Site = Site {
        number: 9,
        kind: 77,
    };

    #[test]
    fn site_is_taken_at_first_and_when_it_is_old() {
        let waiters = Waiters::new_record();
        assert!(waiters.meet(1, 500, 1 << 30));
        waiters.note(AT, 500, 1 << 30);
        assert!(!waiters.meet(2, 900, (1 << 30) + 100_000));
        assert!(waiters.meet(2, 900, (1 << 30) + 200_000));
        assert_eq!(waiters.site(), AT);
    }

    #[test]
    fn one_thread_that_waits_elsewhere_has_its_site_taken() {
        let waiters = Waiters::new_record();
        waiters.note(AT, 500, 1 << 30);
        assert!(!waiters.meet(1, 500, 1 << 30));
        assert!(waiters.are_one());
        assert!(waiters.meet(1, 400, 1 << 30));
        assert!(!waiters.meet(2, 400, 1 << 30));
        assert!(!waiters.are_one(), "it is not the first");
        assert!(waiters.meet(2, 400, 1 << 30));
        assert!(waiters.are_one(), "it has come again");
    }
}
