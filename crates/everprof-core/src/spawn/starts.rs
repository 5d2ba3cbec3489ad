//! Starts: what a thread is to run, from its creation to its first instruction.
//!
//! Context: sampled. Invariant: a start is never moved or unmapped while its store is there,
//! and nobody writes it between `take` and the beginning of the thread that it was taken for, in
//! a fork's child neither.
//!
//! Not in the arena, whose records a child frees or replaces by zeroes as it takes note. A
//! handler may fork while its thread is in `pthread_create`, and come back in the child, whose
//! copy of the C library goes on to make the thread: that one must find its routine, though
//! its record was the parent's. What other threads of the parent were about to create is never
//! begun in the child, and its starts are lost to it: as many as were under way at the fork.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use super::pool::{Entry, FreeList};
use crate::labels::Labels;
use crate::store::Generation;
use crate::sync::{AtomicPtr, AtomicU32, Ordering};
use crate::sys;

/// The starts of a store. All bits zero: none yet.
#[derive(Debug)]
pub(crate) struct Starts {
    /// `MOST` starts; null until the first is taken. Written once, with Release.
    base: AtomicPtr<Start>,
    /// How many were ever taken, and how many were asked for after the last.
    taken: AtomicU32,
    /// Those that are free again, by their place plus 1.
    free: FreeList,
}

/// What a thread is told by its creator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth {
    /// Its record.
    pub entry: Entry,
    /// The generation that its record is of.
    pub generation: Generation,
    /// The creator's labels.
    pub labels: Labels,
    /// Whether it is everprof's own, to be in no profile.
    pub is_own: bool,
    /// What is to be run, with which argument.
    pub run: Run,
}

/// A routine and its argument, as words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Run {
    /// Where the routine is.
    pub routine: usize,
    /// What it is given.
    pub argument: usize,
}

/// One in memory.
pub(super) struct Start {
    /// The next free one, while this one is free.
    next_free: AtomicU32,
    /// Its taker's until the thread is created, and the thread's then.
    birth: UnsafeCell<MaybeUninit<Birth>>,
}

impl Starts {
    pub(crate) const fn new() -> Self {
        Self {
            base: AtomicPtr::new(ptr::null_mut()),
            taken: AtomicU32::new(0),
            free: FreeList::new(),
        }
    }

    /// Where `birth` stands from now on. `None`: no room.
    pub(super) fn take(&self, birth: Birth) -> Option<NonNull<Start>> {
        let base = self.base_or_map()?;
        let used_before = self.free.pop(|number| {
            // SAFETY: a number that `give_back` put on the list (module head).
            let start = unsafe { start_at(base, number) };
            // SAFETY: mapped and, as all bits zero are, valid.
            Some(&unsafe { start.as_ref() }.next_free)
        });
        let number = match used_before {
            Some(number) => number,
            None => self.fresh()?,
        };
        // SAFETY: from the list, or `fresh`: 1 to `MOST`.
        let start = unsafe { start_at(base, number) };
        // SAFETY: as above.
        let place = unsafe { start.as_ref() }.birth.get();
        // SAFETY: this call has taken it, and so is the only one to write it.
        unsafe { place.write(MaybeUninit::new(birth)) };
        Some(start)
    }

    /// What stands at `start`, which is free from now on.
    ///
    /// # Safety
    /// `take` of these starts gave it, and it has not been given back since.
    pub(super) unsafe fn give_back(&self, start: NonNull<Start>) -> Birth {
        // Relaxed: the caller has a start, and so comes after whoever mapped them.
        let base = self.base.load(Ordering::Relaxed);
        // SAFETY: mapped as long as these are there (module head).
        let here = unsafe { start.as_ref() };
        // SAFETY: the caller alone has it.
        let birth = unsafe { here.birth.get().read() };
        // SAFETY: written by `take`.
        let birth = unsafe { birth.assume_init() };
        let place = (start.addr().get() - base.addr()) / size_of::<Start>();
        self.free.push(place as u32 + 1, &here.next_free);
        birth
    }

    fn fresh(&self) -> Option<u32> {
        // Relaxed, both: a number, which nobody else gets. The first look keeps it from
        // growing for ever once all are taken.
        if self.taken.load(Ordering::Relaxed) >= MOST {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        (number <= MOST).then_some(number)
    }

    fn base_or_map(&self) -> Option<NonNull<Start>> {
        // Acquire, here and below: pairs with the Release below; what was mapped is there.
        if let Some(base) = NonNull::new(self.base.load(Ordering::Acquire)) {
            return Some(base);
        }
        let mapped = sys::map_private(BYTES)?;
        let base = mapped.cast::<Start>();
        // Whoever is first makes them, a handler that interrupts another's making too.
        let first = self.base.compare_exchange(
            ptr::null_mut(),
            base.as_ptr(),
            Ordering::Release,
            Ordering::Acquire,
        );
        let Err(others) = first else {
            return Some(base);
        };
        // SAFETY: the whole mapping made above, which nobody else has learned of.
        unsafe { sys::unmap(mapped, BYTES) };
        NonNull::new(others)
    }
}

impl Drop for Starts {
    fn drop(&mut self) {
        // Relaxed: nobody else has these.
        if let Some(base) = NonNull::new(self.base.load(Ordering::Relaxed)) {
            // SAFETY: the whole mapping of `base_or_map`; whoever has a start borrows the store.
            unsafe { sys::unmap(base.cast(), BYTES) };
        }
    }
}

/// # Safety
/// `base` is that of starts, and `number` from 1 to `MOST`.
unsafe fn start_at(base: NonNull<Start>, number: u32) -> NonNull<Start> {
    // SAFETY: `MOST` of them are mapped there, and the place is below that.
    unsafe { base.add(number as usize - 1) }
}

/// Threads that are created and have not begun: more than a machine comes to begin at a time.
/// Those beyond are created as ever and not recorded. Reserved, and touched as they are used:
/// mostly one.
const MOST: u32 = 1 << 15;
const BYTES: usize = MOST as usize * size_of::<Start>();
const _: () = assert!(size_of::<Start>() == 56 && BYTES.is_multiple_of(sys::PAGE_BYTES));
