//! The last walk's steps, so that the next walk need not look its rules up.
//!
//! Context: signal. Invariant: a step is a fact about the code, "this address
//! has this rule", and is used only for that very address. What is on the stack
//! is always read anew. So a memo is right whoever wrote it, on whichever stack
//! and thread, and whatever happened since; sharing or losing one costs time.
//!
//! Why it helps: a rule from the shared cache is known only after the return
//! address was loaded, hashed and looked up, and the next frame waits for the
//! rule. A predicted rule breaks that chain: the processor goes on with it while
//! the comparison is still under way.
//!
//! Memos come from a static pool, one a thread while there are no more threads
//! than memos, then shared. A try-lock guards each: a signal handler that
//! interrupts a walk, or a thread whose memo is in use by another, takes the
//! next one, and if that is busy too walks without. A walk that was abandoned by
//! `longjmp` leaves its memo locked: it is lost to the pool, nothing else.
//!
//! Size: 64 memos of two lists of 160 steps of 24 bytes are 480 KiB of zero
//! pages, touched as they are used. 160 covers the default depth of 128 and
//! frames that are left out; on deeper stacks the outer frames use the cache.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use super::rules::Rule;

/// Steps that one memo keeps.
pub(crate) const STEPS: usize = 160;

/// One frame of the last walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) lookup: u64,
    /// Only tells which step may fit; nothing hangs on it.
    pub(crate) sp: u64,
    pub(crate) rule: Rule,
}

/// Two lists: the walk reads the last one and writes its own into the other.
#[derive(Debug)]
pub(crate) struct Memo {
    lists: [[Step; STEPS]; 2],
    lengths: [usize; 2],
    /// The list of the last walk.
    last: usize,
}

impl Memo {
    pub(crate) const fn new() -> Self {
        let blank = Step {
            lookup: 0,
            sp: 0,
            rule: Rule::EMPTY,
        };
        Self {
            lists: [[blank; STEPS]; 2],
            lengths: [0; 2],
            last: 0,
        }
    }

    /// Begins a walk.
    pub(crate) fn open(&mut self) -> Prediction<'_> {
        let last = self.last & 1;
        let [first, second] = &mut self.lists;
        let (old, new) = if last == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let known = self.lengths[last].min(STEPS);
        Prediction {
            old: &old[..known],
            new,
            at: 0,
            written: 0,
            moved: false,
        }
    }

    /// Ends it; `written` and `moved` as the prediction left them.
    pub(crate) fn close(&mut self, written: usize, moved: bool) {
        let list = if moved {
            1 - (self.last & 1)
        } else {
            self.last & 1
        };
        self.lengths[list] = written;
        self.last = list;
    }
}

/// A walk's view of its memo.
#[derive(Debug)]
pub(crate) struct Prediction<'m> {
    old: &'m [Step],
    new: &'m mut [Step; STEPS],
    at: usize,
    written: usize,
    /// This walk has left the last one's track: its steps go to the other list.
    moved: bool,
}

impl<'m> Prediction<'m> {
    /// The rule of `lookup`, if the last walk had a frame of it at this stack pointer.
    #[inline(always)]
    pub(crate) fn rule(&mut self, lookup: u64, sp: u64) -> Option<Rule> {
        loop {
            let step = self.old.get(self.at)?;
            if step.sp == sp && step.lookup == lookup {
                let rule = step.rule;
                if self.moved || self.at != self.written {
                    self.note(Step { lookup, sp, rule });
                } else {
                    self.written += 1;
                }
                self.at += 1;
                return Some(rule);
            }
            if step.sp >= sp {
                return None;
            }
            self.at += 1;
        }
    }

    /// The last walk's steps from stack pointer `sp` on.
    #[inline(always)]
    pub(crate) fn ahead(&mut self, sp: u64) -> &'m [Step] {
        let old = self.old;
        let ahead = old.get(self.at..).unwrap_or(&[]);
        let below = ahead.iter().take_while(|step| step.sp < sp).count();
        self.at += below;
        ahead.get(below..).unwrap_or(&[])
    }

    /// This walk has gone the first `count` of the steps ahead.
    #[inline(always)]
    pub(crate) fn took(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        if self.moved || self.at != self.written {
            self.copy(count);
        } else {
            self.written += count;
        }
        self.at += count;
    }

    fn copy(&mut self, count: usize) {
        if !self.moved {
            self.leave();
        }
        let count = count.min(STEPS - self.written);
        let to = self.new.get_mut(self.written..self.written + count);
        let from = self.old.get(self.at..self.at + count);
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
            self.written += count;
        }
    }

    /// Adds a frame that was not predicted.
    #[inline(always)]
    pub(crate) fn note(&mut self, step: Step) {
        if !self.moved {
            self.leave();
        }
        if let Some(place) = self.new.get_mut(self.written) {
            *place = step;
            self.written += 1;
        }
    }

    /// What [`Memo::close`] wants to know.
    pub(crate) fn end(self) -> (usize, bool) {
        (self.written, self.moved)
    }

    #[cold]
    fn leave(&mut self) {
        let same = self.written.min(self.old.len());
        if let (Some(to), Some(from)) = (self.new.get_mut(..same), self.old.get(..same)) {
            to.copy_from_slice(from);
        }
        self.moved = true;
    }
}

/// Memos that threads borrow for one walk at a time.
#[derive(Debug)]
pub(crate) struct Pool<const MEMOS: usize> {
    memos: [Slot; MEMOS],
}

#[derive(Debug)]
struct Slot {
    /// Set by whoever walks with this memo, cleared when the walk is over.
    busy: AtomicBool,
    memo: UnsafeCell<Memo>,
}

// SAFETY: `memo` is reached only through `Pool::with`, between the swap of `busy`
// to true and its clearing, so by one walk at a time.
unsafe impl<const MEMOS: usize> Sync for Pool<MEMOS> {}

impl<const MEMOS: usize> Pool<MEMOS> {
    pub(crate) const fn new() -> Self {
        const {
            assert!(MEMOS.is_power_of_two());
        }
        Self {
            memos: [const {
                Slot {
                    busy: AtomicBool::new(false),
                    memo: UnsafeCell::new(Memo::new()),
                }
            }; MEMOS],
        }
    }

    /// Runs `walk` with memo number `index`, or with none when that is in use.
    #[inline(always)]
    pub(crate) fn with<T>(&self, index: usize, walk: impl FnOnce(Option<&mut Memo>) -> T) -> T {
        let Some(slot) = self.memos.get(index % MEMOS) else {
            return walk(None);
        };
        // Acquire: sees the steps written before the last Release below.
        if slot.busy.swap(true, Ordering::Acquire) {
            return walk(None);
        }
        // SAFETY: `busy` was false and is ours until the store below.
        let memo = unsafe { &mut *slot.memo.get() };
        let result = walk(Some(memo));
        // Release: publishes the steps to the next Acquire above.
        slot.busy.store(false, Ordering::Release);
        result
    }

    /// Whether memo number `index` is in use now.
    pub(crate) fn is_busy(&self, index: usize) -> bool {
        // Relaxed: a hint where to look for a free one.
        self.memos
            .get(index % MEMOS)
            .is_some_and(|slot| slot.busy.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn walk(memo: &mut Memo, frames: &[(u64, u64)]) -> usize {
        let mut prediction = memo.open();
        let mut predicted = 0;
        for &(lookup, sp) in frames {
            match prediction.rule(lookup, sp) {
                Some(rule) => {
                    assert_eq!(rule, Rule::from_bits(lookup * 2));
                    predicted += 1;
                }
                None => prediction.note(Step {
                    lookup,
                    sp,
                    rule: Rule::from_bits(lookup * 2),
                }),
            }
        }
        let (written, moved) = prediction.end();
        memo.close(written, moved);
        predicted
    }

    #[test]
    fn the_same_stack_is_predicted_whole() {
        let mut memo = Box::new(Memo::new());
        let frames: Vec<_> = (1..50).map(|n| (n, n * 16)).collect();
        assert_eq!(walk(&mut memo, &frames), 0);
        assert_eq!(walk(&mut memo, &frames), 49);
        assert_eq!(walk(&mut memo, &frames), 49);
    }

    #[test]
    fn a_changed_leaf_keeps_the_outer_frames() {
        let mut memo = Box::new(Memo::new());
        let mut frames: Vec<_> = (1..50).map(|n| (n, n * 16)).collect();
        walk(&mut memo, &frames);
        frames.insert(0, (77, 1));
        assert_eq!(walk(&mut memo, &frames), 49);
        frames.drain(..3);
        assert_eq!(walk(&mut memo, &frames), 47);
        frames[20].0 = 99;
        assert_eq!(walk(&mut memo, &frames), 46);
        assert_eq!(walk(&mut memo, &frames), 47);
    }

    #[test]
    fn another_function_at_the_same_place_is_not_predicted() {
        let mut memo = Box::new(Memo::new());
        walk(&mut memo, &[(1, 16), (2, 32)]);
        assert_eq!(walk(&mut memo, &[(3, 16), (4, 32)]), 0);
    }

    #[test]
    fn stacks_deeper_than_the_memo_keep_their_inner_frames() {
        let mut memo = Box::new(Memo::new());
        let frames: Vec<_> = (1..300).map(|n| (n, n * 16)).collect();
        walk(&mut memo, &frames);
        assert_eq!(walk(&mut memo, &frames), STEPS);
        assert_eq!(walk(&mut memo, &frames), STEPS);
    }

    #[test]
    fn a_nested_walk_gets_no_memo() {
        let pool = Box::new(Pool::<1>::new());
        pool.with(0, |outer| {
            assert!(outer.is_some());
            assert!(pool.is_busy(0));
            pool.with(0, |inner| assert!(inner.is_none()));
        });
        assert!(!pool.is_busy(0));
    }
}
