//! Store: the arena that one process's recorders write to, and what goes with it.
//! The first sample of any profile makes the arena, all others find it. A fork's
//! child takes it over or makes it anew.
//!
//! Context: sampled; what says cold is cold. Invariant: `base` and `len` are
//! written once, and the arena stays mapped at one address as long as the store
//! lives. After a fork nothing of the parent's is written before the child has
//! taken note, whatever thread or signal handler comes first. All bits zero is
//! the first state, so that the process's own store costs no bytes in the
//! executable.
//!
//! | arena | in a fork's child |
//! |---|---|
//! | private | the copies stay, counters at zero, objects weigh nothing but keep their shift |
//! | a file others see | replaced by zeroed private memory, or by a file of the child's own (`move_to`) |
//!
//! Recorders are views of a store: they hold nothing of their own. Nobody waits
//! for the arena to be made, and nothing is lost meanwhile: whoever comes before there
//! is one makes one, a handler that interrupts another's making too. The first that is
//! whole becomes the store's; the others are given back, as untouched as they are.

use std::fmt;
use std::mem;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::compiler_fence;

use crate::arena::{self, Arena, Region};
use crate::filter::Filter;
use crate::fork::Guard;
use crate::heap::Places;
use crate::module_list;
use crate::parts;
use crate::settings::Settings;
use crate::spawn::Starts;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sys;

/// Bytes that the records may take unless set otherwise.
pub const DEFAULT_MEMORY_LIMIT_BYTES: usize = 64 << 20;

/// What the recorders of one process write to.
///
/// The order is that of use, as little of this is in the nearest cache when an event comes. What
/// each sample and its free read, but for a counter of the filter and a set of places, is one line
/// of the processor's cache: from `base` to the heap's period. The rest of the settings, which
/// other events read, is the next line.
#[repr(C, align(64))]
pub struct Store {
    /// Which addresses may be those of objects in the in-use store. Out of the
    /// arena, where frees find it in one load.
    filter: Filter,
    /// The arena's base; null until it is made. Written once, with Release.
    base: AtomicPtr<u8>,
    /// Bytes of the arena; 0: nobody has begun to make it. Kept here because others may
    /// write a shared one's header. Written once, by the first who begins: all who make
    /// one make it so long.
    len: AtomicUsize,
    /// 1: there is no arena, for want of memory or will, and never will be. Final.
    failed: AtomicU32,
    /// 1: the arena is a file that others see. Written before `base`, and in a
    /// fork's child when its records are whole.
    shared: AtomicU32,
    /// How often everything was made anew: places and buckets of before are
    /// void. Written in a fork's child, before it is done with taking note.
    made: AtomicU32,
    /// How often everything was disowned: what was taken before is not
    /// counted as freed. Written as `made`.
    disowned: AtomicU32,
    fork: Guard,
    settings: Settings,
    /// The limit, xor the default. Written before the arena is made.
    memory_limit: AtomicUsize,
    /// See `set_own_text`. Written once, before the first sample, and read by each walk.
    own_text_start: AtomicU64,
    own_text_limit: AtomicU64,
    /// How many modules the arena has copies of. Written by `module_list`.
    modules: AtomicUsize,
    /// What threads that are being created are to run. Out of the arena: a fork's child goes
    /// on with it.
    starts: Starts,
    /// Where the heap finds the buckets of stacks that it has met before. Out of the arena: it
    /// leads into it, and is forgotten when the arena is made anew.
    places: Places,
}

const _: () = {
    let (base, period) = (
        mem::offset_of!(Store, base),
        mem::offset_of!(Store, settings),
    );
    assert!(base.is_multiple_of(64) && period + size_of::<AtomicU64>() <= base + 64);
};

/// Which state of the store something belongs to: after a fork, places and
/// figures of before may be void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    made: u32,
    disowned: u32,
}

impl Generation {
    /// All of it in one word, for thread state that must be zero at first.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.made) << 32 | u64::from(self.disowned)
    }

    /// How often everything was made anew.
    pub(crate) fn made(self) -> u32 {
        self.made
    }
}

impl Store {
    /// An empty store with the default settings.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "64 KiB: to be placed, not passed"
    )]
    pub const fn new() -> Self {
        Self {
            filter: Filter::new(),
            places: Places::new(),
            settings: Settings::new(),
            base: AtomicPtr::new(ptr::null_mut()),
            len: AtomicUsize::new(0),
            failed: AtomicU32::new(0),
            shared: AtomicU32::new(0),
            made: AtomicU32::new(0),
            disowned: AtomicU32::new(0),
            memory_limit: AtomicUsize::new(0),
            own_text_start: AtomicU64::new(0),
            own_text_limit: AtomicU64::new(0),
            modules: AtomicUsize::new(0),
            starts: Starts::new(),
            fork: Guard::new(),
        }
    }

    /// Where the heap's stacks were met.
    #[inline(always)]
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Which addresses may be sampled objects'.
    #[inline(always)]
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// What threads that are being created are to run.
    pub(crate) fn starts(&self) -> &Starts {
        &self.starts
    }

    /// The figures in force.
    #[must_use]
    #[inline(always)]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Puts a figure in force, here and for readers.
    pub fn set(&self, name: crate::settings::Name, figure: u64) {
        self.settings.set(name, figure);
        if let Some(region) = self.own_region() {
            self.settings.publish(region.header());
        }
    }

    /// Bytes that the records may take: what was set, and once there is an arena, its length.
    #[must_use]
    pub fn memory_limit(&self) -> usize {
        // Relaxed, here and below: figures, each of its own.
        match self.len.load(Ordering::Relaxed) {
            0 => self.memory_limit.load(Ordering::Relaxed) ^ DEFAULT_MEMORY_LIMIT_BYTES,
            agreed => agreed,
        }
    }

    /// Sets how many bytes the records may take. False: too late, the arena is made or
    /// being made, and its limit stays.
    pub fn set_memory_limit(&self, bytes: usize) -> bool {
        if self.len.load(Ordering::Relaxed) != 0 {
            return false;
        }
        self.memory_limit
            .store(bytes ^ DEFAULT_MEMORY_LIMIT_BYTES, Ordering::Relaxed);
        // Asked again: if a length was agreed on meanwhile, that one is in force.
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Bytes that the records take.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.own_region().map_or(0, |region| region.used_bytes())
    }

    /// Leading frames with a pc in this range are left out of stacks: the code
    /// of a library that itself stands beneath the program.
    pub fn set_own_text(&self, text: Range<u64>) {
        // Relaxed, here and in `own_text`: set before anything is sampled.
        self.own_text_start.store(text.start, Ordering::Relaxed);
        self.own_text_limit.store(text.end, Ordering::Relaxed);
    }

    /// What `set_own_text` was told; empty if nothing.
    pub fn own_text(&self) -> Range<u64> {
        self.own_text_start.load(Ordering::Relaxed)..self.own_text_limit.load(Ordering::Relaxed)
    }

    /// Makes the arena now, if it is not made yet. Cold.
    pub fn prepare(&self) {
        let _ = self.region_or_make();
    }

    /// Copies what was loaded since to where readers in other processes find it,
    /// if there are any: to be called when an address is recorded.
    #[inline]
    pub(crate) fn note_modules(&self, region: Region<'_>) {
        // Relaxed: a figure. Of a private arena nobody else names addresses.
        if self.shared.load(Ordering::Relaxed) != 0 {
            module_list::copy_new(region, &self.modules);
        }
    }

    /// Records in the file behind `fd`, whose `len` bytes are zero, so that
    /// another process can read it, even after this one's death. False: the file
    /// cannot be mapped or is in use, or there is an arena already. Cold.
    ///
    /// A fork's child forgets the objects of such a store, as their records
    /// are its parent's: they must all be committed with shift 0.
    pub fn init_shared(&self, fd: i32, len: usize) -> bool {
        if self.is_made() || self.agree_on(len) != len {
            return false;
        }
        // Relaxed: published with the base, if that will be this one's.
        self.shared.store(1, Ordering::Relaxed);
        let is_ours = self.make(Arena::shared(fd, len));
        if !is_ours {
            self.shared.store(0, Ordering::Relaxed);
        }
        is_ours && self.own_region().is_some()
    }

    /// In a fork's child: goes on in a file of its own, whose `len` bytes are
    /// zero and as many as the parent's. False: that cannot be had; the records
    /// are then private and empty. Cold; only one thread may be running.
    pub fn move_to(&self, fd: i32, len: usize) -> bool {
        if !self.is_made() {
            return self.init_shared(fd, len);
        }
        let _ = self.own_region();
        let Some(region) = self.region() else {
            return false;
        };
        if len != region.capacity_bytes() {
            return false;
        }
        // First: a child that is forked in the middle must not write there.
        self.shared.store(1, Ordering::Relaxed);
        // SAFETY: the store's whole mapping; this is the process's only
        // thread, and it holds no reference into it.
        let moved = unsafe { sys::replace_with_file(region.base(), len, fd) };
        // A mapping that could not be replaced may be gone all the same.
        // SAFETY: as above.
        if !moved && !unsafe { sys::replace_with_private(region.base(), len) } {
            self.fail();
            return false;
        }
        self.begin_anew(region, moved);
        moved
    }

    /// Records nothing from here on: for a process that is not to be recorded, which
    /// may be a child with its parent's arena. Cold; only one thread may be running.
    pub fn close(&self) {
        self.fail();
    }

    /// The arena, if it is made and is this process's own.
    #[inline]
    pub(crate) fn own_region(&self) -> Option<Region<'_>> {
        let region = self.region()?;
        if self.has_failed() || (self.fork.happened() && !self.take_note(region)) {
            return None;
        }
        Some(region)
    }

    /// False: somebody else is at it, or there is no memory.
    #[cold]
    fn take_note(&self, region: Region<'_>) -> bool {
        self.fork.once(|| self.become_own(region)) && !self.has_failed()
    }

    /// The arena while somebody else of a fork's child takes note. A private
    /// one is whole all the time, and the objects in it keep their places:
    /// whoever frees one must learn of its shift, now.
    #[cold]
    pub(crate) fn region_meanwhile(&self) -> Option<Region<'_>> {
        // Acquire: pairs with the Release in `begin_anew`; everything is whole.
        if self.has_failed() || self.shared.load(Ordering::Acquire) != 0 {
            return None;
        }
        self.region()
    }

    /// The arena that holds what was reserved, taken or begun in `generation`;
    /// none, if a fork's child has made everything anew since.
    #[inline]
    pub(crate) fn region_of(&self, generation: Generation) -> Option<Region<'_>> {
        let region = self.own_region().or_else(|| self.region_meanwhile())?;
        (self.generation().made == generation.made).then_some(region)
    }

    /// The generation now.
    #[inline]
    pub(crate) fn generation(&self) -> Generation {
        Generation {
            // Relaxed, both: change in a fork's child only, in `own_region` by
            // this thread.
            made: self.made.load(Ordering::Relaxed),
            disowned: self.disowned.load(Ordering::Relaxed),
        }
    }

    /// The generation of a region that was asked for just now. From here on a handler may fork
    /// and come back in the child: what is done with the region then is not of this one.
    #[inline]
    pub(crate) fn generation_of(&self, _asked: &Region<'_>) -> Generation {
        let generation = self.generation();
        // Read before anything is done. The compiler alone could change that: handlers are
        // this thread's.
        compiler_fence(Ordering::SeqCst);
        generation
    }

    fn is_made(&self) -> bool {
        // Acquire: pairs with the Release in `make`.
        !self.base.load(Ordering::Acquire).is_null()
    }

    #[inline]
    fn region(&self) -> Option<Region<'_>> {
        // Acquire: pairs with the Release in `make`.
        let base = ptr::NonNull::new(self.base.load(Ordering::Acquire))?;
        // Relaxed: written before the base.
        let len = self.len.load(Ordering::Relaxed);
        // SAFETY: `make` stored base and length of an arena with a header, which
        // stays mapped as long as the store lives.
        Some(unsafe { Region::from_parts(base, len) })
    }

    /// There is no arena, and never will be.
    pub(crate) fn has_failed(&self) -> bool {
        // Relaxed: final, and publishes nothing.
        self.failed.load(Ordering::Relaxed) != 0
    }

    fn fail(&self) {
        // Relaxed: as above.
        self.failed.store(1, Ordering::Relaxed);
    }

    /// The arena, made if need be. `None`: there is none and never will be, or another
    /// thread of a fork's child is just taking note.
    pub(crate) fn region_or_make(&self) -> Option<Region<'_>> {
        if !self.is_made() && !self.has_failed() {
            self.make_private();
        }
        self.own_region()
    }

    #[cold]
    fn make_private(&self) {
        let len = arena::rounded(self.memory_limit()).map(|len| self.agree_on(len));
        // With no memory for this one there may still be another's, made meanwhile.
        if !self.make(len.and_then(Arena::anonymous)) && !self.is_made() {
            self.fail();
        }
    }

    /// How long the arena is to be; `len`, if nobody has said before.
    fn agree_on(&self, len: usize) -> usize {
        // Relaxed, both: a figure. Whoever reads it for the arena's length has the base
        // from a thread that had read it before.
        let agreed = self
            .len
            .compare_exchange(0, len, Ordering::Relaxed, Ordering::Relaxed);
        agreed.err().unwrap_or(len)
    }

    /// Makes `arena` the store's. False: there is none, or another was faster.
    fn make(&self, arena: Option<Arena>) -> bool {
        let Some(arena) = arena.filter(|arena| parts::create(arena.region()).is_some()) else {
            return false;
        };
        // First: who finds the arena must be able to tell a fork.
        self.fork.arm_first();
        let (base, len) = arena.into_parts();
        // Release: publishes the records, the length and the guard. Pairs with the Acquire
        // in `region`. Acquire on failure: as there.
        let made = self.base.compare_exchange(
            ptr::null_mut(),
            base.as_ptr(),
            Ordering::Release,
            Ordering::Acquire,
        );
        if made.is_err() {
            // SAFETY: from `into_parts` just now, and nobody else has learned of it.
            drop(unsafe { Arena::from_parts(base, len) });
            return false;
        }
        // Now that there is an arena: what is set from here on, `set` publishes itself.
        if let Some(region) = self.region() {
            self.settings.publish(region.header());
        }
        true
    }

    /// In a fork's child: the arena becomes this process's own, and empty.
    fn become_own(&self, region: Region<'_>) {
        // Relaxed: published with the base, before the fork.
        if self.shared.load(Ordering::Relaxed) != 0 {
            // SAFETY: the store's whole mapping. What it held is the parent's;
            // references into it are used by nobody: the child has one thread.
            if unsafe { sys::replace_with_private(region.base(), region.capacity_bytes()) } {
                self.begin_anew(region, false);
            } else {
                self.fail();
            }
            return;
        }
        // Relaxed: seen by this thread, and by others after the guard is armed.
        self.disowned.fetch_add(1, Ordering::Relaxed);
        parts::disown(region);
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

    /// Fresh records in a mapping that has just been replaced by zeroes.
    fn begin_anew(&self, region: Region<'_>, shared: bool) {
        // Relaxed: seen by this thread, and by others after the guard is armed.
        self.made.fetch_add(1, Ordering::Relaxed);
        // SAFETY: zeroed, as large as before, and used by this thread alone.
        unsafe { crate::arena::init_header(region.base(), region.capacity_bytes()) };
        self.filter.clear();
        self.places.clear();
        self.modules.store(0, Ordering::Relaxed);
        self.settings.publish(region.header());
        if parts::create(region).is_none() {
            self.fail();
        }
        // Last: a child that is forked before must do all this again. Release:
        // pairs with the Acquire in `region_meanwhile`.
        self.shared.store(u32::from(shared), Ordering::Release);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(region) = self.region() {
            let (base, len) = (region.base(), region.capacity_bytes());
            // SAFETY: from `into_parts` in `make`; tickets, taken objects and
            // snapshots borrow the store, so none is left.
            drop(unsafe { Arena::from_parts(base, len) });
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
