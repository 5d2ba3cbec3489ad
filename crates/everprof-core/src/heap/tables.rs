//! Whose tables they are: made by the first sample, found by all others, made
//! anew or taken over in a fork's child.
//!
//! Context: sampled; what says cold is cold. Invariant: `base` and `len` are
//! written once. After a fork nothing of the parent's is written before the
//! child has taken note, whatever thread or signal handler comes first.
//!
//! | tables | in a fork's child |
//! |---|---|
//! | private | the copies stay, counters at zero, objects weigh nothing but keep their shift |
//! | a file others see | replaced by zeroed private memory, or by a file of the child's own (`move_to`) |

use std::ptr;

use super::Recorder;
use crate::arena::{Arena, Region};
use crate::parts::Parts;
use crate::sync::Ordering;
use crate::sys;

/// Nobody has asked for tables yet.
pub(super) const UNMADE: u32 = 0;
/// Somebody makes them: plus the process that does, as a child that was forked meanwhile has
/// nobody who would come to an end.
const MAKING: u32 = 1;
/// There are tables.
pub(super) const READY: u32 = 2;
/// There is no memory for tables.
pub(super) const FAILED: u32 = 3;
/// Where the process id begins in `MAKING`. Linux' go up to 2²².
const MAKER_SHIFT: u32 = 2;

impl Recorder {
    /// Records in the file behind `fd`, whose `len` bytes are zero, so that
    /// another process can read the tables, even after this one's death. False:
    /// the file cannot be mapped or is in use, or tables are there already. Cold.
    ///
    /// A fork's child forgets the objects of such a recorder, as their records
    /// are its parent's: they must all be committed with shift 0.
    pub fn init_shared(&self, fd: i32, len: usize) -> bool {
        self.make(|| Arena::shared(fd, len), true).is_some()
    }

    /// In a fork's child: goes on in a file of its own, whose `len` bytes are
    /// zero and as many as the parent's. False: that cannot be had; the tables
    /// are then private and empty. Cold; only one thread may be running.
    pub fn move_to(&self, fd: i32, len: usize) -> bool {
        // Acquire: pairs with the Release in `make`.
        if self.state.load(Ordering::Acquire) != READY {
            return self.init_shared(fd, len);
        }
        let _ = self.parts();
        let Some(region) = self.region() else {
            return false;
        };
        if len != region.capacity_bytes() {
            return false;
        }
        // First: a child that is forked in the middle must not write there.
        self.shared.store(1, Ordering::Relaxed);
        // SAFETY: the recorder's whole mapping; this is the process's only
        // thread, and it holds no reference into it.
        let moved = unsafe { sys::replace_with_file(region.base(), len, fd) };
        // A mapping that could not be replaced may be gone all the same.
        // SAFETY: as above.
        if !moved && !unsafe { sys::replace_with_private(region.base(), len) } {
            self.state.store(FAILED, Ordering::Relaxed);
            return false;
        }
        self.begin_anew(region, moved);
        moved
    }

    /// The structures, if they are made and are this process's own.
    pub(super) fn parts(&self) -> Option<Parts<'_>> {
        if !self.is_ready() {
            return None;
        }
        let region = self.region()?;
        if self.fork.happened() && !(self.fork.once(|| self.become_own(region)) && self.is_ready())
        {
            return None;
        }
        Parts::open(region)
    }

    /// The structures while somebody else of a fork's child takes note. Private
    /// ones are whole all the time, and the objects in them keep their places:
    /// whoever frees one must learn of its shift, now.
    #[cold]
    pub(super) fn parts_meanwhile(&self) -> Option<Parts<'_>> {
        // Acquire: pairs with the Release in `begin_anew`; the tables are whole.
        if !self.is_ready() || self.shared.load(Ordering::Acquire) != 0 {
            return None;
        }
        Parts::open(self.region()?)
    }

    /// The structures that hold what was reserved or taken when `tables` was so;
    /// none, if a fork's child has made new ones since.
    pub(super) fn parts_of(&self, tables: u32) -> Option<Parts<'_>> {
        let parts = self.parts().or_else(|| self.parts_meanwhile())?;
        // Relaxed: changes in a fork's child only, in `parts` by this thread.
        (self.tables.load(Ordering::Relaxed) == tables).then_some(parts)
    }

    pub(super) fn is_ready(&self) -> bool {
        // Acquire: pairs with the Release in `make`.
        self.state.load(Ordering::Acquire) == READY
    }

    pub(super) fn region(&self) -> Option<Region<'_>> {
        // Acquire: pairs with the Release in `make`.
        let base = ptr::NonNull::new(self.base.load(Ordering::Acquire))?;
        // Relaxed: written before the base.
        let len = self.len.load(Ordering::Relaxed);
        // SAFETY: `make` stored base and length of an arena with a header, which
        // stays mapped as long as the recorder lives.
        Some(unsafe { Region::from_parts(base, len) })
    }

    pub(super) fn parts_or_make(&self) -> Option<Parts<'_>> {
        // Relaxed: `make` and `parts` look again.
        match self.state.load(Ordering::Relaxed) {
            READY | FAILED => self.parts(),
            _ => self.make(|| Arena::anonymous(self.memory_limit()), false),
        }
    }

    #[cold]
    pub(super) fn make(
        &self,
        arena: impl FnOnce() -> Option<Arena>,
        shared: bool,
    ) -> Option<Parts<'_>> {
        let making = MAKING | sys::process_id() << MAKER_SHIFT;
        // Relaxed: only one thread goes on; it reads nothing of others.
        let seen = self.state.load(Ordering::Relaxed);
        let abandoned = seen != making && is_making(seen) && self.fork.happened();
        if seen != UNMADE && !abandoned {
            return None;
        }
        // Acquire: if abandoned, what the parent's thread wrote is simply there.
        self.state
            .compare_exchange(seen, making, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        // Not null: the parent's thread had the arena made, and it is whole. It
        // is taken over as after any other fork.
        if self.base.load(Ordering::Acquire).is_null() {
            self.fork.arm();
            let arena = arena().filter(|arena| Parts::create(arena.region()).is_some());
            let Some(arena) = arena else {
                self.state.store(FAILED, Ordering::Relaxed);
                return None;
            };
            // Relaxed, to the next comment: published with the base.
            arena
                .region()
                .header()
                .heap_period_bytes
                .store(self.period(), Ordering::Relaxed);
            self.shared.store(u32::from(shared), Ordering::Relaxed);
            let (base, len) = arena.into_parts();
            self.len.store(len, Ordering::Relaxed);
            // Release: publishes the above. Pairs with the Acquire in `region`.
            self.base.store(base.as_ptr(), Ordering::Release);
        }
        // Release: publishes all of the above. Pairs with the Acquire in `is_ready`.
        self.state.store(READY, Ordering::Release);
        self.parts()
    }

    /// In a fork's child: the tables become this process's own, and empty.
    pub(super) fn become_own(&self, region: Region<'_>) {
        if self.shared.load(Ordering::Relaxed) != 0 {
            // SAFETY: the recorder's whole mapping. What it held is the parent's;
            // references into it are used by nobody: the child has one thread.
            if unsafe { sys::replace_with_private(region.base(), region.capacity_bytes()) } {
                self.begin_anew(region, false);
            } else {
                self.state.store(FAILED, Ordering::Relaxed);
            }
            return;
        }
        // Relaxed: seen by this thread, and by others after the guard is armed.
        self.counters.fetch_add(1, Ordering::Relaxed);
        // Objects keep their places: their frees must still find the shift.
        if let Some(parts) = Parts::open(region) {
            parts.table.clear_counters();
            parts.in_use.disown_all();
            parts.epochs.reset();
        }
        // Relaxed: figures.
        region
            .header()
            .process_id
            .store(u64::from(sys::process_id()), Ordering::Relaxed);
        region
            .header()
            .started_unix_nanos
            .store(sys::unix_nanos(), Ordering::Relaxed);
    }

    /// Fresh tables in a mapping that has just been replaced by zeroes.
    pub(super) fn begin_anew(&self, region: Region<'_>, shared: bool) {
        // Relaxed: seen by this thread, and by others after the guard is armed.
        self.tables.fetch_add(1, Ordering::Relaxed);
        // SAFETY: zeroed, as large as before, and used by this thread alone.
        unsafe { crate::arena::init_header(region.base(), region.capacity_bytes()) };
        self.filter.clear();
        self.modules.store(0, Ordering::Relaxed);
        region
            .header()
            .heap_period_bytes
            .store(self.period(), Ordering::Relaxed);
        if Parts::create(region).is_none() {
            self.state.store(FAILED, Ordering::Relaxed);
        }
        // Last: a child that is forked before must do all this again. Release:
        // pairs with the Acquire in `parts_meanwhile`.
        self.shared.store(u32::from(shared), Ordering::Release);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(region) = self.region() {
            let (base, len) = (region.base(), region.capacity_bytes());
            // SAFETY: from `into_parts` in `make`; tickets, taken objects and
            // snapshots borrow the recorder, so none is left.
            drop(unsafe { Arena::from_parts(base, len) });
        }
    }
}

fn is_making(state: u32) -> bool {
    state & ((1 << MAKER_SHIFT) - 1) == MAKING
}
