//! Waiters: what a record of an address knows of those who wait there, besides how many.
//!
//! Context: sampled. Invariant: none hangs on another; each figure is the last one noted.
//! They are hints: a site that is a tenth of a millisecond old, a thread that waited here
//! twice in a row.
//!
//! A word that one thread alone ever waits on is that thread's place to park, and says
//! nothing about the lock; [`super::log`] then finds out who held that. The first who
//! waits is taken for alone until another comes: where many threads wait for a lock once,
//! as they start, there is no second wait to learn it from. So is a thread that is younger
//! than any before: the word of one that has ended is often given to the next.
//! Threads that share a lock are of all ages; few of them are younger than all before.

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
    /// Whose word it may be, an [`Owner`].
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
        let before = Owner(self.owner.load(Ordering::Relaxed));
        let owner = before.after(tid);
        if owner != before {
            self.owner.store(owner.0, Ordering::Relaxed);
        }
        let age = ticks(now_nanos).wrapping_sub(self.site_ticks.load(Ordering::Relaxed));
        // One thread's waits differ in depth where they differ in kind, most times.
        let moved = owner.is_alone() && self.site_sp.load(Ordering::Relaxed) != sp as u32;
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

    /// Whether one thread alone waits here, as far as is known.
    #[inline]
    pub(crate) fn are_one(&self) -> bool {
        Owner(self.owner.load(Ordering::Relaxed)).is_alone()
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

/// Whose word it may be: the youngest thread that has waited, whether it was alone since, and
/// how many waits of older ones there were. All bits zero: nobody's.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner(u32);

impl Owner {
    const ALONE: u32 = 1;
    const ONE_OLDER: u32 = 2;
    /// Eight bits of waits of older ones.
    const OLDER: u32 = 0xff << 1;
    /// Linux numbers its threads by 22 bits (PID_MAX_LIMIT).
    const TID_SHIFT: u32 = 9;

    fn is_alone(self) -> bool {
        self.0 & Self::ALONE != 0
    }

    /// Once thread `tid` has come. Numbers start anew some day: after so many waits of
    /// older threads the last of them is taken for the one to know.
    #[must_use]
    fn after(self, tid: u32) -> Self {
        let known = self.0 >> Self::TID_SHIFT;
        let older = self.0 & Self::OLDER;
        if tid > known {
            Self(tid << Self::TID_SHIFT | Self::ALONE)
        } else if tid == known {
            // Alone again if it came twice in a row.
            let alone = if older == 0 { Self::ALONE } else { 0 };
            Self(tid << Self::TID_SHIFT | alone)
        } else if older == Self::OLDER {
            Self(tid << Self::TID_SHIFT)
        } else {
            Self((self.0 & !Self::ALONE) + Self::ONE_OLDER)
        }
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
        assert!(waiters.meet(2, 500, 1 << 30));
        waiters.note(AT, 500, 1 << 30);
        assert!(!waiters.meet(1, 900, (1 << 30) + 100_000));
        assert!(waiters.meet(1, 900, (1 << 30) + 200_000));
        assert_eq!(waiters.site(), AT);
    }

    #[test]
    fn one_thread_that_waits_elsewhere_has_its_site_taken() {
        let waiters = Waiters::new_record();
        assert!(waiters.meet(1, 500, 1 << 30));
        waiters.note(AT, 500, 1 << 30);
        assert!(!waiters.meet(1, 500, 1 << 30));
        assert!(waiters.meet(1, 400, 1 << 30));
    }

    #[test]
    fn thread_is_alone_until_an_older_one_comes_and_again_when_it_comes_twice() {
        let waiters = Waiters::new_record();
        let alone_after = |tid| {
            waiters.meet(tid, 500, 1 << 30);
            waiters.are_one()
        };
        assert!(alone_after(7), "nobody else has come");
        assert!(alone_after(9), "the one before may have ended");
        assert!(alone_after(9));
        assert!(!alone_after(7), "it has not");
        assert!(!alone_after(9));
        assert!(alone_after(9));
        assert!(!alone_after(8));
    }

    #[test]
    fn threads_that_share_a_lock_are_seldom_taken_for_alone() {
        let waiters = Waiters::new_record();
        let mut alone = 0;
        for n in 0..10_000_u64 {
            // Eight threads, in the order of a hash.
            let tid = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as u32 + 100;
            waiters.meet(tid, 500, 1 << 30);
            alone += u32::from(waiters.are_one());
        }
        assert!(alone < 10_000 / 32, "{alone}");
    }

    #[test]
    fn thread_whose_number_is_lower_than_one_long_gone_is_alone_in_the_end() {
        let waiters = Waiters::new_record();
        waiters.meet(4_000_000, 500, 1 << 30);
        for _ in 0..255 {
            waiters.meet(300, 500, 1 << 30);
            assert!(!waiters.are_one());
        }
        waiters.meet(300, 500, 1 << 30);
        waiters.meet(300, 500, 1 << 30);
        assert!(waiters.are_one());
    }
}
