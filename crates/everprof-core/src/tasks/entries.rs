//! Entries: the memory of all watched futures.
//!
//! Context: sampled; any for what gives an entry back. No lock, no global allocator.
//! Invariant: an entry is never moved or unmapped, so that a waker may outlive its task, the
//! executor, and a fork. An entry on the free list is nobody's.
//!
//! Why not in the store's arena: an entry holds the executor's waker, which is a pointer to a
//! function. The arena may be a file that another process writes, and is replaced by zeroes
//! in a fork's child, whose tasks must wake and be woken all the same.
//!
//! Taken are entries from the free list, then fresh ones up to the cap.

use std::ptr::{self, NonNull};

use super::entry::Entry;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sys;

/// All entries of a process. All bits zero: none yet.
#[derive(Debug)]
pub struct Entries {
    /// The first; null until somebody wants one. Written once, with Release.
    base: AtomicPtr<Entry>,
    /// How many fit; 0: nobody has said. Written once, before `base`, by the first who comes:
    /// the limit may change while two make the memory, and each makes it so large.
    capacity: AtomicU32,
    /// How many were ever taken.
    used: AtomicU32,
    /// The first free one's number plus 1, and above it how often the list changed, so that a
    /// swap fails where the same entry came back meanwhile.
    free: AtomicU64,
    /// Futures that are not seen, for want of an entry.
    lost: AtomicUsize,
    /// Numbers of tasks given out.
    ids: AtomicU64,
}

impl Entries {
    /// None.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        Self {
            base: AtomicPtr::new(ptr::null_mut()),
            capacity: AtomicU32::new(0),
            used: AtomicU32::new(0),
            free: AtomicU64::new(0),
            lost: AtomicUsize::new(0),
            ids: AtomicU64::new(0),
        }
    }

    /// An entry that was nobody's, of `limit_bytes` for all of them. `None`: there is no room.
    pub(crate) fn take(&'static self, limit_bytes: usize) -> Option<&'static Entry> {
        let entry = self.pop_or_fresh(limit_bytes)?;
        entry.keep();
        Some(entry)
    }

    fn pop_or_fresh(&'static self, limit_bytes: usize) -> Option<&'static Entry> {
        if let Some(entry) = self.pop() {
            return Some(entry);
        }
        let base = self.base_or_make(limit_bytes)?;
        // Relaxed, all: a number that nobody else gets; the memory is zero and nobody's.
        let capacity = self.capacity.load(Ordering::Relaxed);
        let mut used = self.used.load(Ordering::Relaxed);
        while used < capacity {
            match self.used.compare_exchange_weak(
                used,
                used + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return entry_at(base, used),
                Err(now) => used = now,
            }
        }
        None
    }

    /// An entry's cell is nobody's any more: takes it back, if no other that is lent to it is
    /// somebody's, and then the task that its own was lent to in the same way.
    pub(crate) fn give_back(&'static self, entry: &'static Entry) {
        let mut next = Some(entry);
        while let Some(entry) = next {
            if !entry.release() {
                return;
            }
            next = entry.recall();
            self.push(entry);
        }
    }

    /// The next task's number.
    pub(crate) fn next_id(&self) -> u64 {
        // Relaxed: a number.
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A future is not seen.
    pub(crate) fn lose(&self) {
        // Relaxed, here and below: a figure.
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// One that was not seen is gone.
    pub(crate) fn forget_lost(&self) {
        self.lost.fetch_sub(1, Ordering::Relaxed);
    }

    /// Futures that are there and not seen.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// Entries that were ever taken.
    pub(crate) fn len(&self) -> usize {
        // Relaxed: a figure.
        self.used.load(Ordering::Relaxed) as usize
    }

    /// Every entry that was ever taken.
    pub(crate) fn iter(&'static self) -> impl Iterator<Item = &'static Entry> {
        // Acquire: pairs with the Release in `make`.
        let base = NonNull::new(self.base.load(Ordering::Acquire));
        // Relaxed: what was taken this moment is free, or new.
        let used = base.map_or(0, |_| self.used.load(Ordering::Relaxed));
        (0..used).filter_map(move |number| entry_at(base?, number))
    }

    /// Where they stand.
    #[cfg_attr(
        not(all(target_os = "linux", not(miri))),
        allow(dead_code, reason = "nobody looks at all memory there")
    )]
    pub(crate) fn addresses(&self) -> std::ops::Range<u64> {
        // Acquire: pairs with the Release in `make`. Relaxed: published with the base.
        let base = self.base.load(Ordering::Acquire).addr() as u64;
        let capacity = u64::from(self.capacity.load(Ordering::Relaxed));
        base..base + capacity * size_of::<Entry>() as u64
    }

    fn base_or_make(&self, limit_bytes: usize) -> Option<NonNull<Entry>> {
        // Acquire: pairs with the Release below.
        if let Some(base) = NonNull::new(self.base.load(Ordering::Acquire)) {
            return Some(base);
        }
        self.make(limit_bytes)
    }

    #[cold]
    fn make(&self, limit_bytes: usize) -> Option<NonNull<Entry>> {
        let wanted = u32::try_from(limit_bytes / size_of::<Entry>()).ok()?;
        // Relaxed, both: a figure, published with the base.
        let agreed =
            self.capacity
                .compare_exchange(0, wanted, Ordering::Relaxed, Ordering::Relaxed);
        let len = agreed.err().unwrap_or(wanted) as usize * size_of::<Entry>();
        let fresh = sys::map_private(len)?.cast::<Entry>();
        // Release: publishes the capacity. Acquire: another's.
        match self.base.compare_exchange(
            ptr::null_mut(),
            fresh.as_ptr(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => Some(fresh),
            Err(other) => {
                // SAFETY: the whole mapping made above, which nobody else knows.
                unsafe { sys::unmap(fresh.cast(), len) };
                NonNull::new(other)
            }
        }
    }

    fn pop(&'static self) -> Option<&'static Entry> {
        // Acquire, here and on failure: pairs with the Release in `push`: `next_free` is set.
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let number = (head as u32).checked_sub(1)?;
            // Acquire: pairs with the Release in `make`.
            let base = NonNull::new(self.base.load(Ordering::Acquire))?;
            let entry = entry_at(base, number)?;
            // Relaxed: if it is another's meanwhile, the swap fails.
            let next = entry.next_free().load(Ordering::Relaxed);
            // Acquire: what the last owner did with the entry is done.
            match self.free.compare_exchange_weak(
                head,
                changed(head, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(entry),
                Err(now) => head = now,
            }
        }
    }

    fn push(&'static self, entry: &'static Entry) {
        // Acquire: pairs with the Release in `make`.
        let base = self.base.load(Ordering::Acquire).addr();
        let number = (ptr::from_ref(entry).addr() - base) / size_of::<Entry>();
        let place = number as u32 + 1;
        // Relaxed: to compare.
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the swap.
            entry.next_free().store(head as u32, Ordering::Relaxed);
            // Release: publishes the entry as it was left. Pairs with the Acquire in `pop`.
            match self.free.compare_exchange_weak(
                head,
                changed(head, place),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// The list with another first entry.
fn changed(head: u64, first: u32) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) | u64::from(first)
}

fn entry_at(base: NonNull<Entry>, number: u32) -> Option<&'static Entry> {
    // SAFETY: numbers are below `used`, which is never above the capacity of the mapping.
    let at = unsafe { base.add(number as usize) };
    // SAFETY: zeroed at first, which is a valid entry, only changed by its atomics and by
    // what `Cell` answers for since, and never unmapped.
    Some(unsafe { at.as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_for_as_many_as_the_first_says_is_never_taken_for_more() {
        static ENTRIES: Entries = Entries::new();
        let (small, large) = (2 * size_of::<Entry>(), 1000 * size_of::<Entry>());
        let made = ENTRIES.make(small);
        // Another who found no memory yet, and another limit.
        assert!(made.is_some() && ENTRIES.make(large) == made);
        let taken = (0..10).filter(|_| ENTRIES.take(large).is_some());
        assert_eq!(taken.count(), 2);
    }
}
