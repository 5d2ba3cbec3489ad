//! Spawn: who creates threads, how many of them are there, and what they cost.
//!
//! Context: sampled (`begin`, `start`, `end`); what says cold is cold.
//! Invariant: of each thread that was created, the beginning is counted once, after the
//! creation succeeded, and its end once, by whoever retires its record ([`pool`]).
//! No time of a thread is counted twice.
//! Source: Go's threadcreate profile, which has had no stacks since 2013 (golang#6104).
//!
//! ```text
//! creator                                   the thread
//! begin: capture → bucket, record, start
//! the C library's pthread_create ─────────▶ start: labels, number, exit notice
//!   failed: give both back                  the program's routine
//!   succeeded: count `created`              end: count `ended` and its CPU time
//! ```
//!
//! **CPU time** of those that live is read from their clocks by each snapshot, and what is
//! new is added to their creator's counter ([`Pool::claim`]); so the counter only grows.
//!
//! **A fork while a thread is created**, by a handler that comes back in the child: the thread
//! finds what it is to run ([`starts`]), but its record is the parent's.
//!
//! **Threads nobody was seen to create**: the first, those made before everprof's
//! `pthread_create` was there or without it (raw `clone`). A snapshot counts them by
//! the kernel's list, under frames that say so ([`others`]).

use std::ptr::NonNull;

use crate::arena::{Offset, Region};
use crate::labels::{self, Labels};
use crate::ledger::{Ledger, Name};
use crate::local::{self, Local};
use crate::lost::Lost;
use crate::scratch;
use crate::stack::{self, Registers};
use crate::store::{Generation, Store};
use crate::sys;
use pool::{Entry, Known, Seen};
use starts::{Birth, Start};

mod others;
pub(crate) mod pool;
mod snapshot;
mod starts;
mod tally;

pub use others::Others;
pub(crate) use pool::Pool;
pub use snapshot::{Bucket, Snapshot};
pub use starts::Run;
pub(crate) use starts::Starts;

/// Whether this build sees threads being created (`interpose/displaced/thread.rs`). Else
/// all but the first are threads that nobody was seen to create.
pub const CREATIONS_ARE_SEEN: bool = cfg!(all(
    feature = "interpose",
    target_os = "linux",
    any(target_env = "gnu", target_env = "musl"),
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64",
    not(target_feature = "crt-static"),
    not(miri)
));

/// Records the threads of a process in a store.
#[derive(Clone, Copy, Debug)]
pub struct Recorder<'s> {
    store: &'s Store,
}

/// A thread that is being created. Dropped without [`Created::succeeded`], it was not.
#[derive(Debug)]
#[must_use]
pub struct Created<'s> {
    store: &'s Store,
    parts: Parts<'s>,
    entry: Entry,
    generation: Generation,
    bucket: Option<Offset>,
    start: NonNull<Start>,
}

/// What a thread that begins is to know.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// What it is to run.
    pub run: Run,
    /// Whether it is on record, so that its end is to be told.
    pub is_on_record: bool,
}

/// What a thread remembers of itself: its record, and of which making of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    at: u32,
    tag: u32,
    made: u32,
}

impl Own {
    pub(crate) const NONE: Self = Self {
        at: 0,
        tag: 0,
        made: 0,
    };
}

impl<'s> Recorder<'s> {
    /// The recorder that writes to `store`.
    #[must_use]
    pub const fn of(store: &'s Store) -> Self {
        Self { store }
    }

    /// A thread is about to be created, which is to do `run`. `None`: it cannot be recorded,
    /// and is counted so.
    pub fn begin(self, run: Run, registers: &Registers) -> Option<Created<'s>> {
        let skip = self.store.own_text();
        local::with(|local| {
            self.begin_with(local, run, |stack| {
                stack::capture(registers, &local.stack, stack, &skip).depth
            })
        })
    }

    /// As [`Recorder::begin`], with any thread state and any source of stacks.
    pub fn begin_with(
        self,
        local: &Local,
        run: Run,
        capture: impl FnOnce(&mut [u64]) -> usize,
    ) -> Option<Created<'s>> {
        let parts = self.store.region_or_make().and_then(Parts::open)?;
        let bucket = if local.excluded.get() {
            // Everprof's own, to be in no profile, and so is what it does.
            None
        } else {
            let labels = labels::in_force(self.store, local);
            Some(scratch::bucket_of(&parts.ledger, 0, labels, capture)?)
        };
        if !parts.pool.has_free() {
            parts.pool.for_some(STEPS, |known| parts.look_at(known));
        }
        let generation = self.store.generation();
        let acquired = parts.pool.acquire(bucket).and_then(|entry| {
            let birth = Birth {
                entry,
                generation,
                labels: local.labels.get(),
                is_own: bucket.is_none(),
                run,
            };
            // Not where a handler has forked just now: whose record it is nobody knows.
            let is_ours = self.store.generation() == generation;
            let start = is_ours.then(|| self.store.starts().take(birth)).flatten();
            if start.is_none() {
                parts.pool.abandon(entry);
            }
            Some((entry, start?))
        });
        let Some((entry, start)) = acquired else {
            parts.ledger.count_lost(Lost::TableFull, tally::add_created);
            return None;
        };
        self.store.note_modules(parts.region);
        Some(Created {
            store: self.store,
            parts,
            entry,
            generation,
            bucket,
            start,
        })
    }

    /// This thread begins, with what its creator had: now its labels are its creator's, and
    /// one of everprof's is left out.
    ///
    /// # Safety
    /// `start` is that of a [`Created`] of this store, whose thread this is, and begins once.
    pub unsafe fn start(self, local: &Local, start: *mut u8) -> Begun {
        // SAFETY: what `take` gave is not null.
        let start = unsafe { NonNull::new_unchecked(start.cast()) };
        // SAFETY: `begin_with` had it from `take`; the thread that was created has it now.
        let birth = unsafe { self.store.starts().give_back(start) };
        local.labels.set(birth.labels);
        if birth.is_own {
            // From the first moment on: the C library and std allocate before the body.
            local.excluded.set(true);
        }
        let parts = self.parts();
        // Asked after the arena was, as it is then that a child of a fork takes note.
        let parts = parts.filter(|_| self.store.generation() == birth.generation);
        let is_on_record = parts.is_some_and(|parts| {
            let labels_at = std::ptr::from_ref(&local.labels).addr() as u64;
            parts.pool.start(birth.entry, sys::thread_id(), labels_at)
        });
        if is_on_record {
            local.thread.set(Own {
                at: birth.entry.at.raw(),
                tag: birth.entry.tag,
                made: birth.generation.made(),
            });
        }
        Begun {
            run: birth.run,
            is_on_record,
        }
    }

    /// This thread ends: what it has not counted yet of its CPU time is counted.
    pub fn end(self, local: &Local) {
        let own = local.thread.replace(Own::NONE);
        let Some(at) = Offset::from_raw(own.at) else {
            return;
        };
        let parts = self.parts();
        let Some(parts) = parts.filter(|_| self.store.generation().made() == own.made) else {
            return;
        };
        let Some(known) = parts.pool.known(at).filter(|k| k.entry.tag == own.tag) else {
            return;
        };
        let cpu_nanos = sys::thread_cpu_nanos(known.tid).unwrap_or(0);
        if let Some(counted_nanos) = parts.pool.retire(known.entry) {
            let rest = cpu_nanos.saturating_sub(counted_nanos);
            parts.count(known, |cells| tally::add_ended(cells, rest));
        }
    }

    /// The addresses, leaf first, of the stack that created the thread `tid`, if that was
    /// seen and the thread has not ended. Cold.
    #[must_use]
    pub fn creator_of(self, tid: u32) -> Option<&'s [u64]> {
        let parts = self.parts()?;
        let known = parts.find(tid)?;
        parts.ledger.table.stack(known.bucket?)
    }

    /// The set of the labels that another thread has now; 0: none. `None`: its creation was
    /// not seen. Cold. One that is just ending may seem to have none, or lost ones.
    #[must_use]
    pub fn labels_of(self, tid: u32) -> Option<u32> {
        let known = self.parts()?.find(tid)?;
        Some(self.labels_at(known.labels_at))
    }

    /// As `labels_of`, of the thread whose state has its labels at that address.
    pub(crate) fn labels_at(self, address: u64) -> u32 {
        // The thread may have ended, and its memory be another's or nobody's: it is
        // copied by the kernel, and the number is believed as little as any other.
        sys::read_word(address).map_or(labels::NONE, |word| {
            Labels::from_bits(word).set_in(self.store.generation().made())
        })
    }

    /// The threads that were created, by who created them, and the others. Cold.
    #[must_use]
    pub fn snapshot(self) -> Snapshot<'s> {
        Snapshot::of(self.parts())
    }

    /// Of this process's arena what there is to write.
    #[inline]
    fn parts(self) -> Option<Parts<'s>> {
        self.store.own_region().and_then(Parts::open)
    }
}

impl Created<'_> {
    /// What the thread is to be given: where its start is.
    #[must_use]
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// The thread was created.
    pub fn succeeded(self) {
        let created = std::mem::ManuallyDrop::new(self);
        if created.is_of_this_process()
            && let Some(bucket) = created.bucket
        {
            created.parts.ledger.count(bucket, tally::add_created);
        }
    }

    /// Not where a handler has forked meanwhile: in the child the record is void, and the
    /// thread one of those that nobody was seen to create.
    fn is_of_this_process(&self) -> bool {
        // First, as it is then that the child takes note.
        self.store.own_region().is_some() && self.store.generation() == self.generation
    }
}

impl Drop for Created<'_> {
    fn drop(&mut self) {
        if self.is_of_this_process() {
            self.parts.pool.abandon(self.entry);
        }
        // SAFETY: from `take`, and no thread was created that could have it.
        let _ = unsafe { self.store.starts().give_back(self.start) };
    }
}

/// What of an arena this recorder writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    region: Region<'a>,
    ledger: Ledger<'a>,
    pool: Pool<'a>,
}

impl<'a> Parts<'a> {
    pub(crate) fn open(region: Region<'a>) -> Option<Self> {
        Some(Self {
            region,
            ledger: Ledger::open(region, Name::SPAWN)?,
            pool: Pool::open(region)?,
        })
    }

    fn count(&self, known: Known, count: impl FnOnce(&crate::table::Cells)) {
        if let Some(bucket) = known.bucket {
            self.ledger.count(bucket, count);
        }
    }

    /// The thread on record with this number. Cold where the index has forgotten it.
    fn find(&self, tid: u32) -> Option<Known> {
        if let Seen::At(at) = self.pool.seen(tid) {
            return self.pool.known(at).filter(|known| known.tid == tid);
        }
        let mut found = None;
        self.pool.for_each(|known| {
            if known.tid == tid {
                found = Some(known);
            }
        });
        found
    }

    /// Counts the CPU time that a thread took since somebody looked, or its end.
    fn look_at(&self, known: Known) {
        let is_another = match self.pool.seen(known.tid) {
            Seen::At(at) => at != known.entry.at,
            Seen::Unknown => false,
        };
        match sys::thread_cpu_nanos(known.tid).filter(|_| !is_another) {
            Some(cpu_nanos) => {
                let new = self.pool.claim(known.entry, cpu_nanos);
                if new > 0 {
                    self.count(known, |cells| tally::add_cpu(cells, new));
                }
            }
            // Gone, and nobody told: the rest of its time is not known.
            None => {
                if self.pool.retire(known.entry).is_some() {
                    self.count(known, tally::add_unseen_end);
                }
            }
        }
    }
}

/// Records looked at by a creation: more than one, so that ends are found faster than
/// threads are made, and no more than a microsecond or so of system calls.
const STEPS: usize = 4;

#[cfg(test)]
mod tests;
