//! Cell: the executor's waker of one task, and how many of ours stand for it.
//!
//! Context: any but `attach`, which clones the executor's waker; no lock, no allocation.
//! Invariant: the waker is there exactly while there are references, it never changes while
//! it is there, and whoever gives the last reference back takes it out.
//!
//! ```text
//! word = wakes (32 bits) | held (1 bit) | references (31 bits)
//!
//!  wakes       those that have begun by a reference of this cell, modulo 2³²
//!  held        a task has it
//!  references  one a waker of ours that somebody keeps, and of a lent cell one while the task
//!              is polled
//!
//!                attach (the poller)     release, wake_last (anybody)
//!  references 0 ──────────────────▶ 1 ⇄ n ──────────────────▶ 0   and the waker is taken out
//!  not held, no references: nobody's. Whoever makes it so gives the cell back.
//! ```
//!
//! The last reference is given back by one compare-and-swap, before which the waker's two
//! words are copied out: while that reference is there nobody writes them, and if the swap
//! succeeds they are its owner's alone. So no state stands between "there" and "gone" that
//! a poll which begins meanwhile would have to wait for. A wake that spends the last reference is
//! counted by the same swap: who sees it gone sees that the task was woken.
//!
//! **The first is stored.** Where there are no references, and until the poller takes one, nobody
//! but the poller changes the word. Wakes, clones and drops have a reference; only the task,
//! which is being polled, lets go; whoever else has what a poll lends, on whatever thread, takes
//! cells of its own, and what holds those is counted beside the cell (`entry`). So
//! the first reference is a store, where a locked addition waits for all stores before it.
//!
//! **Too many.** Safe code can make wakers and forget them. Where there are 2³⁰, they are counted
//! no more, up or down: the executor's waker stays for good, as with one that is forgotten.
//!
//! **Why the task itself keeps no executor's waker.** A task that nobody can wake any more
//! is dropped by executors that count its wakers (async-task, `Arc`-made ones). One that was
//! kept within its own future would keep it for ever.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::task::Waker;

use crate::sync::{AtomicU64, Ordering, UnsafeCell};

/// See the module head. All bits zero: nobody's.
#[repr(C)]
#[derive(Debug)]
pub struct Cell {
    word: AtomicU64,
    /// Written by the poller while there are no references, read while there are.
    waker: UnsafeCell<MaybeUninit<Waker>>,
}

// SAFETY: a waker may be used from any thread; who may read and write it when is the
// module head's business.
unsafe impl Send for Cell {}
// SAFETY: as above.
unsafe impl Sync for Cell {}

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// The cell has this waker, and one reference more.
    Here,
    /// Somebody still keeps a waker of another executor's, or of another task of its.
    Busy,
}

/// What giving something back came to.
#[derive(Debug)]
#[must_use]
pub struct Released {
    /// The executor's waker, if that was the last reference.
    pub waker: Option<Waker>,
    /// The cell is nobody's now.
    pub is_vacant: bool,
}

/// What a cell's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Wakers of ours that stand for the executor's.
    pub references: u32,
    /// A task has the cell.
    pub is_held: bool,
    /// Wakes by references of this cell, modulo 2³².
    pub wakes: u32,
}

/// One wake. Above all else, so that it runs over into nothing.
const WAKE: u64 = 1 << 32;
const HELD: u64 = 1 << 31;
const REFERENCES: u64 = HELD - 1;
/// From so many references on none is counted. As many again have room above them, for those
/// who count one at this moment.
const MOST_REFERENCES: u64 = 1 << 30;

impl Cell {
    /// Nobody's.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a first state, not a default")]
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            waker: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// A task has the cell, which was nobody's.
    pub fn hold(&self) {
        // Relaxed, both: it is from the free list, and nobody else changes it.
        let word = self.word.load(Ordering::Relaxed);
        self.word.store(word | HELD, Ordering::Relaxed);
    }

    /// It has it no longer.
    pub fn let_go(&self) -> Released {
        // Release: what the holder did is done. Pairs with the Acquire of whoever makes the
        // cell nobody's. Acquire: this may be that one.
        let before = self.word.fetch_and(!HELD, Ordering::AcqRel);
        Released {
            waker: None,
            is_vacant: before & REFERENCES == 0,
        }
    }

    /// Takes a reference, and the executor's waker in if there is none.
    ///
    /// To clone that and to drop it calls the executor, which may come back here, on this
    /// thread: what was seen before counts for nothing then.
    ///
    /// # Safety
    /// Only the task's poller calls this, on one thread at a time, of a cell that it holds or
    /// that is nobody else's.
    pub unsafe fn attach(&self, outer: &Waker) -> Attached {
        // Acquire, here and below: pairs with the Release in `release`: if there are no
        // references, the last one's owner has read the waker.
        let mut word = self.word.load(Ordering::Acquire);
        let mut clone = None;
        loop {
            if word & REFERENCES == 0 {
                let Some(waker) = clone.take() else {
                    clone = Some(outer.clone());
                    word = self.word.load(Ordering::Acquire);
                    continue;
                };
                let waker = MaybeUninit::new(waker);
                // SAFETY: without references nobody reads it, and only the poller writes it,
                // which has called nobody since it saw that there are none.
                self.waker.with_mut(|at| unsafe { at.write(waker) });
                // Release: publishes the waker, to whoever gets a reference from this one. A
                // store: the word is as it was seen, as without references this thread alone
                // changes it (module head).
                self.word.store(word + 1, Ordering::Release);
                return Attached::Here;
            }
            // From here on a clone is dropped behind all that is done here.
            if !self.has(outer) {
                return Attached::Busy;
            }
            if word & REFERENCES >= MOST_REFERENCES {
                return Attached::Here;
            }
            // Relaxed: the poller wrote the waker itself. Acquire on failure: as above.
            match self
                .word
                .compare_exchange(word, word + 1, Ordering::Relaxed, Ordering::Acquire)
            {
                Ok(_) => return Attached::Here,
                Err(now) => word = now,
            }
        }
    }

    /// Whether the waker last written is as this one. To be asked by the poller.
    fn has(&self, outer: &Waker) -> bool {
        self.waker.with(|at| {
            // SAFETY: written by the poller, which this is, and changed by nobody else. It may
            // be taken out this moment, which leaves its words as they are: these are
            // compared, and of what they point to the table alone is read, which is static.
            let waker = unsafe { &*at.cast::<ManuallyDrop<Waker>>() };
            // `will_wake` compares the tables' addresses, of which a compiler may make several.
            waker.data() == outer.data() && waker.vtable() == outer.vtable()
        })
    }

    /// Another reference, if there is any. To be asked by the poller, which knows by whose
    /// making the waker is there.
    #[inline]
    pub fn add_to_others(&self) -> bool {
        // Relaxed, all: the poller wrote the waker itself, and what it has a reference to stays.
        let mut word = self.word.load(Ordering::Relaxed);
        while word & REFERENCES != 0 {
            if word & REFERENCES >= MOST_REFERENCES {
                return true;
            }
            match self.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Another reference. The caller has one.
    #[inline]
    pub fn add(&self) {
        // Relaxed: as `Arc` does; the reference it comes from keeps all as it is.
        let before = self.word.fetch_add(1, Ordering::Relaxed);
        if before & REFERENCES >= MOST_REFERENCES {
            self.take_off();
        }
    }

    /// One too many, which is not counted.
    #[cold]
    fn take_off(&self) {
        // Relaxed: there are others, for good.
        self.word.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes by the executor's waker. The caller has a reference.
    ///
    /// # Safety
    /// There is a reference which is not given back before this returns.
    #[inline]
    pub unsafe fn wake_by_ref(&self) {
        // Release: whoever sees the wake sees what was noted before it. Pairs with the Acquire in
        // `counts`.
        self.word.fetch_add(WAKE, Ordering::Release);
        self.waker.with(|at| {
            // SAFETY: initialised while there are references, and the caller's keeps it so;
            // `MaybeUninit` has the layout of what it holds.
            let waker = unsafe { &*at.cast::<Waker>() };
            waker.wake_by_ref();
        });
    }

    /// Gives a reference back. What it leaves of the executor's waker is to be dropped, or
    /// woken, by the caller.
    ///
    /// # Safety
    /// The caller has the reference, and never uses it again.
    #[inline]
    pub unsafe fn release(&self) -> Released {
        // Relaxed: `waker` is read by reference of this very reference's making.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & REFERENCES >= MOST_REFERENCES {
                return Released {
                    waker: None,
                    is_vacant: false,
                };
            }
            if word & REFERENCES != 1 {
                // Release: what was done with the reference is done. Pairs with the Acquire of
                // the last one. Acquire on failure: this may be that one.
                match self.word.compare_exchange_weak(
                    word,
                    word - 1,
                    Ordering::Release,
                    Ordering::Acquire,
                ) {
                    Ok(_) => {
                        return Released {
                            waker: None,
                            is_vacant: false,
                        };
                    }
                    Err(now) => {
                        word = now;
                        continue;
                    }
                }
            }
            // SAFETY: the caller's reference, so it is there and written by nobody. A copy:
            // it counts only if the swap below succeeds.
            let waker = self.waker.with(|at| unsafe { at.read() });
            // Release: the waker was read; pairs with the Acquire in `attach`. Acquire: all
            // other references' owners are done with it.
            match self.word.compare_exchange_weak(
                word,
                word - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    return Released {
                        // SAFETY: initialised while there was a reference, and taken out once.
                        waker: Some(unsafe { waker.assume_init() }),
                        is_vacant: word & HELD == 0,
                    };
                }
                Err(now) => word = now,
            }
        }
    }

    /// Counts a wake and gives the reference back, if it is the last one, and the waker with it,
    /// which the caller is to wake. `None`: it is not, or a poll began this moment; the caller
    /// has it still, and nothing was counted.
    ///
    /// # Safety
    /// As [`Cell::release`], if it is given back.
    #[inline]
    pub unsafe fn wake_last(&self) -> Option<Released> {
        // Relaxed: as in `release`.
        let word = self.word.load(Ordering::Relaxed);
        if word & REFERENCES != 1 {
            return None;
        }
        // SAFETY: as in `release`.
        let waker = self.waker.with(|at| unsafe { at.read() });
        // Release, Acquire: as in `release` and `wake_by_ref`. Relaxed on failure: nothing
        // follows from it.
        self.word
            .compare_exchange(
                word,
                word.wrapping_add(WAKE) - 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .ok()?;
        Some(Released {
            // SAFETY: as in `release`.
            waker: Some(unsafe { waker.assume_init() }),
            is_vacant: word & HELD == 0,
        })
    }

    /// References, and wakes.
    #[inline]
    #[must_use]
    pub fn counts(&self) -> Counts {
        // Acquire: pairs with the Release in `release` and of wakes: what a waker did before it
        // was given back, and before it woke, is seen by whoever sees that.
        let word = self.word.load(Ordering::Acquire);
        Counts {
            references: (word & REFERENCES) as u32,
            is_held: word & HELD != 0,
            wakes: (word >> 32) as u32,
        }
    }
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{RawWaker, RawWakerVTable, Wake};

    use super::*;

    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Counted>, Waker) {
        let counted = Arc::new(Counted(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&counted));
        (counted, waker)
    }

    #[test]
    fn executors_waker_is_there_while_there_are_references_and_no_longer() {
        let (counted, waker) = counted();
        let cell = Cell::new();
        cell.hold();
        // SAFETY: this test is the poller, here and below.
        assert_eq!(unsafe { cell.attach(&waker) }, Attached::Here);
        assert_eq!(Arc::strong_count(&counted), 3);
        cell.add();
        // SAFETY: of two references.
        let first = unsafe { cell.release() };
        assert!(first.waker.is_none());
        // SAFETY: the other one.
        unsafe { cell.wake_by_ref() };
        // SAFETY: as above.
        let last = unsafe { cell.release() };
        assert!(last.waker.is_some() && !last.is_vacant);
        drop(last);
        assert_eq!(Arc::strong_count(&counted), 2);
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
        assert!(cell.let_go().is_vacant);
    }

    #[test]
    fn forgotten_references_never_make_the_count_run_over() {
        let (counted, waker) = counted();
        let cell = Cell::new();
        cell.hold();
        // SAFETY: this test is the poller, here and below.
        assert_eq!(unsafe { cell.attach(&waker) }, Attached::Here);
        // As if so many had been made and forgotten.
        cell.word.fetch_add(MOST_REFERENCES - 2, Ordering::Relaxed);
        for _ in 0..3 {
            cell.add();
            // SAFETY: as above.
            assert_eq!(unsafe { cell.attach(&waker) }, Attached::Here);
        }
        assert_eq!(cell.counts().references, MOST_REFERENCES as u32);
        assert!(cell.counts().is_held);
        for _ in 0..6 {
            // SAFETY: of those that were made.
            let released = unsafe { cell.release() };
            assert!(released.waker.is_none() && !released.is_vacant);
        }
        assert_eq!(cell.counts().references, MOST_REFERENCES as u32);
        assert!(cell.counts().is_held);
        assert_eq!(Arc::strong_count(&counted), 3, "it stays");
        // Else Miri tells of it, rightly.
        cell.word.fetch_sub(MOST_REFERENCES - 1, Ordering::Relaxed);
        // SAFETY: of those that were made; the last, as the count says.
        assert!(unsafe { cell.release() }.waker.is_some());
    }

    #[test]
    fn another_executors_waker_finds_the_cell_busy_until_the_first_is_given_back() {
        static TABLE: RawWakerVTable =
            RawWakerVTable::new(|data| RawWaker::new(data, &TABLE), |_| (), |_| (), |_| ());
        let (first, second) = (0_u8, 0_u8);
        // SAFETY: the table's functions do nothing with what they are given.
        let waker = |of: &u8| unsafe { Waker::new(std::ptr::from_ref(of).cast(), &TABLE) };
        let (one, other) = (waker(&first), waker(&second));
        let cell = Cell::new();
        cell.hold();
        // SAFETY: this test is the poller, here and below.
        assert_eq!(unsafe { cell.attach(&one) }, Attached::Here);
        // SAFETY: as above.
        assert_eq!(unsafe { cell.attach(&other) }, Attached::Busy);
        // SAFETY: as above.
        assert_eq!(unsafe { cell.attach(&one) }, Attached::Here);
        assert_eq!(cell.counts().references, 2);
        for _ in 0..2 {
            // SAFETY: one of two references.
            drop(unsafe { cell.release() });
        }
        // SAFETY: as above.
        assert_eq!(unsafe { cell.attach(&other) }, Attached::Here);
        // SAFETY: the only reference.
        drop(unsafe { cell.release() });
    }
}
