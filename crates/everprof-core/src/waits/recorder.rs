//! The recorder of waits: chance, slots, addresses, stacks and ledgers joined. Its
//! other half, of wakes, stands in `wakes`.
//!
//! Context: sampled. Invariant: what `begin` adds to a slot and an address, `end` takes
//! off exactly once, or whoever took the slot back has; after a fork neither does.
//!
//! ```text
//! begin: draw → (capture) → clock → claim a slot → come to the address → publish
//! end:   clock → leave the slot → leave the address → recorded? (capture) → count
//! ```
//!
//! Yields are waits in a spinning lock: where a thread yields again within
//! [`SPIN_NANOS`] from a frame at the same place of its stack, what lies between belongs
//! to the waiting, and to the later of the two. So does what lies between the last
//! yield and the futex wait that a spinning lock ends up in.

use super::addresses::Addresses;
use super::chance::{Threshold, Weight};
use super::slots::{Claimed, Entry, Place, Slots, what};
use super::turns::Turns;
use super::waiters::{Site, Waiters};
use super::word::Units;
use super::{Ended, Operation, Wait, parts, tally};
use crate::arena::{Offset, Region};
use crate::clock;
use crate::labels;
use crate::local::{self, Local};
use crate::scratch::{bucket_of, or_no_stack};
use crate::settings::Name;
use crate::stack::{self, Registers};
use crate::store::Store;
use crate::sys;
use crate::table::Key;

/// Records waits in a store.
#[derive(Clone, Copy, Debug)]
pub struct Recorder<'s> {
    pub(super) store: &'s Store,
}

/// A wait that is under way, or none.
///
/// Filled in place, not returned: copies of it were a fifth of what a wait costs.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'s> {
    state: State,
    /// The store's when it began.
    generation: u64,
    since_nanos: u64,
    threshold: Threshold,
    shown: Option<Shown<'s>>,
    /// Its bucket, if the stack is captured already; 0: it is not.
    bucket: u32,
    labels: u32,
}

/// Where a wait stands, kept for its end. The arena stays where it is as long as the store
/// lives; in a fork's child the generation is another, and nobody looks here.
#[derive(Clone, Copy, Debug)]
struct Shown<'s> {
    claimed: Claimed<'s>,
    addresses: Addresses<'s>,
}

/// What of a wait was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Nothing,
    /// All, but it is not counted at its address.
    Unattributed,
    Whole,
}

impl Begun<'_> {
    /// No wait.
    pub const NOTHING: Self = Self {
        state: State::Nothing,
        generation: 0,
        since_nanos: 0,
        threshold: Threshold::NEVER,
        shown: None,
        bucket: 0,
        labels: 0,
    };

    /// Whether there is a wait to end.
    #[inline(always)]
    #[must_use]
    pub fn is_something(&self) -> bool {
        self.state != State::Nothing
    }
}

impl<'s> Recorder<'s> {
    /// The recorder that writes to `store`.
    #[must_use]
    #[inline(always)]
    pub const fn of(store: &'s Store) -> Self {
        Self { store }
    }

    /// A wait of this thread begins; `begun` was nothing.
    #[inline(never)]
    pub fn begin(self, wait: &Wait, registers: &Registers, begun: &mut Begun<'s>) {
        let local = this_thread();
        self.begin_with(local, wait, registers, begun, clock::early_nanos, |stack| {
            let skip = self.store.own_text();
            stack::capture(registers, &local.stack, stack, &skip).depth
        });
    }

    /// It ended.
    #[inline(never)]
    pub fn end(self, wait: &Wait, registers: &Registers, begun: &Begun<'_>, ended: Ended) {
        let local = this_thread();
        self.end_with(local, wait, begun, ended, clock::early_nanos(), |stack| {
            let skip = self.store.own_text();
            stack::capture(registers, &local.stack, stack, &skip).depth
        });
    }

    /// As [`Recorder::begin`], with any thread state, any clock and any source of
    /// stacks: `capture` fills its argument from the front and says how far.
    #[inline(always)]
    pub fn begin_with(
        self,
        local: &Local,
        wait: &Wait,
        registers: &Registers,
        begun: &mut Begun<'s>,
        clock: impl Fn() -> u64,
        mut capture: impl FnMut(&mut [u64]) -> usize,
    ) {
        let period_nanos = self.store.settings().get(Name::BlockPeriod);
        let charges = self.charges();
        if local.excluded.get() || (period_nanos == 0 && !charges) {
            return;
        }
        let Some(region) = self.store.region_or_make() else {
            return;
        };
        begun.generation = self.store.generation().to_bits();
        identify(local, begun.generation);
        begun.threshold = Threshold::draw(local, period_nanos);
        begun.labels = labels::in_force(self.store, local);
        if begun.threshold.is_likely() {
            begun.bucket = self.bucket_of_wait(region, wait, begun.labels, &mut capture);
        }
        let now_nanos = clock();
        begun.since_nanos = since(local, registers.sp, now_nanos);
        begun.state = State::Unattributed;
        // A yield is over in a moment, and no thread's state.
        if wait.operation == Operation::Yield {
            return;
        }
        let (Some(slots), Some(addresses)) = (Slots::open(region), Addresses::open(region)) else {
            return;
        };
        let claimed = slots.claim(
            local.waits.slot.get(),
            local.waits.tid.get(),
            registers.sp,
            // Nobody knows when it was left; as if woken: no later than the last wake.
            |place| addresses.leave(place.record(), place.start(), now_nanos, true),
        );
        let Some(claimed) = claimed else {
            return;
        };
        local.waits.slot.set(claimed.slot());
        begun.shown = Some(Shown { claimed, addresses });
        let mut place = Place::NONE;
        if charges && wait.address != 0 {
            let start = Units::of_nanos(begun.since_nanos);
            let record = addresses.come(wait.address as u64, start, |nanos| {
                self.lose_wait(local, region, nanos);
            });
            if let Some(record) = record {
                place = Place::new(record, start);
                begun.state = State::Whole;
                if let Some(waiters) = addresses.waiters_of(record)
                    && waiters.meet(local.waits.tid.get(), registers.sp, now_nanos)
                {
                    let site = self.site_of(region, wait, registers, &mut capture);
                    waiters.note(site, registers.sp, now_nanos);
                }
            }
        }
        let entry = Entry {
            tid: local.waits.tid.get(),
            what: what(wait),
            address: wait.address as u64,
            since_nanos: begun.since_nanos,
            labels: begun.labels,
            registers: [registers.pc, registers.sp, registers.fp, registers.lr],
        };
        claimed.publish(&entry, place);
    }

    /// As [`Recorder::end`], with any thread state, time, and source of stacks.
    #[inline(always)]
    pub fn end_with(
        self,
        local: &Local,
        wait: &Wait,
        begun: &Begun<'_>,
        ended: Ended,
        now_nanos: u64,
        mut capture: impl FnMut(&mut [u64]) -> usize,
    ) {
        let Some(region) = self.store.own_region() else {
            return;
        };
        // In a fork's child it was the parent's.
        if self.store.generation().to_bits() != begun.generation {
            return;
        }
        let is_yield = wait.operation == Operation::Yield;
        local
            .waits
            .yielded_nanos
            .set(if is_yield { now_nanos } else { 0 });
        if let Some(Shown { claimed, addresses }) = &begun.shown {
            let place = claimed.leave();
            local.waits.slot.set(claimed.slot_after());
            if !place.is_none() {
                let woken = ended == Ended::Woken;
                if let Some(waiters) = addresses.waiters_of(place.record()) {
                    note_turn(local, waiters, woken);
                }
                addresses.leave(place.record(), place.start(), now_nanos, woken);
            }
        }
        let delay_nanos = now_nanos.saturating_sub(begun.since_nanos);
        if let Some(weight) = begun.threshold.weigh(local, delay_nanos, 1) {
            self.record_wait(region, wait, begun, &weight, &mut capture);
        }
        if begun.state == State::Unattributed && wait.address != 0 && self.charges() {
            self.lose_wait(local, region, delay_nanos);
        }
    }

    /// `count` waiters of `from` now wait for `to`.
    #[cold]
    pub fn requeued(self, from: usize, to: usize, count: u32, now_nanos: u64) {
        let Some(region) = self.store.own_region() else {
            return;
        };
        let (Some(slots), Some(addresses)) = (Slots::open(region), Addresses::open(region)) else {
            return;
        };
        if !slots.may_move() {
            return;
        }
        let start = Units::of_nanos(now_nanos);
        let mut left = count;
        slots.for_each(|seen| {
            let place = seen.place;
            if left == 0 || place.is_none() || addresses.address(place.record()) != from as u64 {
                return;
            }
            let Some(record) = addresses.come(to as u64, start, |_| ()) else {
                return;
            };
            if seen.move_to(Place::new(record, start)) {
                left -= 1;
                // Who requeued them ended their wait for `from`.
                addresses.leave(place.record(), place.start(), now_nanos, true);
            } else {
                // It came for nothing, and waited no time.
                addresses.leave(record, start, now_nanos, false);
            }
        });
    }

    /// Nanoseconds from which on each wait is recorded; 0 is off.
    pub fn set_block_period(self, nanos: u64) {
        self.store.set(Name::BlockPeriod, nanos);
    }

    /// As the block period, of what wakes are charged with.
    pub fn set_mutex_period(self, nanos: u64) {
        self.store.set(Name::MutexPeriod, nanos);
    }

    /// One in `n` wakes is recorded, whatever its charge; 0: the period decides.
    pub fn set_mutex_fraction(self, n: u64) {
        self.store.set(Name::MutexFraction, n);
    }

    /// Where this thread waits.
    #[cold]
    #[inline(never)]
    fn site_of(
        self,
        region: Region<'_>,
        wait: &Wait,
        registers: &Registers,
        capture: &mut impl FnMut(&mut [u64]) -> usize,
    ) -> Site {
        let mut scratch = [0; SITE_DEPTH];
        let depth = capture(&mut scratch);
        self.store.note_modules(region);
        let stack = or_no_stack(scratch.get(..depth));
        let key = Key {
            stack,
            extra: wait.operation as u64,
            labels: 0,
        };
        // The first frame is that of the C function, unless those are left out; entries are
        // one more than an address in the frame (`stack`).
        let mut frames = stack.iter().copied();
        let kind = frames.find(|pc| pc.wrapping_sub(registers.pc) > 1);
        Site {
            number: parts::sites(region)
                .and_then(|sites| sites.find_or_insert(&key))
                .map_or(0, Offset::raw),
            kind: kind.unwrap_or(0),
        }
    }

    /// The bucket of who waits; 0: there is none.
    #[cold]
    #[inline(never)]
    fn bucket_of_wait(
        self,
        region: Region<'_>,
        wait: &Wait,
        labels: u32,
        capture: &mut impl FnMut(&mut [u64]) -> usize,
    ) -> u32 {
        let Some(ledger) = parts::block(region) else {
            return 0;
        };
        let bucket = bucket_of(&ledger, u64::from(what(wait)), labels, capture);
        self.store.note_modules(region);
        bucket.map_or(0, Offset::raw)
    }

    #[cold]
    #[inline(never)]
    fn record_wait(
        self,
        region: Region<'_>,
        wait: &Wait,
        begun: &Begun<'_>,
        weight: &Weight,
        capture: &mut impl FnMut(&mut [u64]) -> usize,
    ) {
        let bucket = match begun.bucket {
            0 => self.bucket_of_wait(region, wait, begun.labels, capture),
            bucket => bucket,
        };
        let bucket = Offset::from_raw(bucket);
        if let (Some(ledger), Some(bucket)) = (parts::block(region), bucket) {
            ledger.count(bucket, |cells| tally::add(cells, weight));
        }
    }
}

/// This thread's state. What is done with it here is too long to be inlined into a
/// closure's caller, and what the closure captures goes through memory then: a fifth of
/// the instructions of a wait.
#[inline(always)]
pub(super) fn this_thread<'l>() -> &'l Local {
    let local = local::with(std::ptr::from_ref);
    // SAFETY: the thread's own block, which has no destructor and lives until its last
    // instruction (`local`); callers use it within their own frame.
    unsafe { &*local }
}

/// Learns the thread's number. What it remembers of another generation is void.
#[inline(always)]
fn identify(local: &Local, generation: u64) {
    if local.waits.generation.get() != generation + 1 {
        meet(local, generation);
    }
}

#[cold]
#[inline(never)]
fn meet(local: &Local, generation: u64) {
    let state = &local.waits;
    state.slot.set(0);
    state.yielded_nanos.set(0);
    state.turns.set(Turns::NONE);
    state.has_turns.set(false);
    state.tid.set(sys::thread_id());
    state.generation.set(generation + 1);
}

/// When a wait that begins now has begun: with the last yield's end, if that was in the
/// same loop as far as the stack says.
#[inline(always)]
fn since(local: &Local, sp: u64, now_nanos: u64) -> u64 {
    let state = &local.waits;
    let yielded_nanos = state.yielded_nanos.get();
    let same = sp.abs_diff(state.yielded_sp.replace(sp)) < SPIN_FRAMES_BYTES;
    // 0, none ended, is long ago.
    if same && now_nanos.wrapping_sub(yielded_nanos) < SPIN_NANOS {
        yielded_nanos
    } else {
        now_nanos
    }
}

/// Remembers which wake ended this thread's wait, where wakes are logged.
#[inline(always)]
fn note_turn(local: &Local, waiters: &Waiters, woken: bool) {
    let wake = if woken { waiters.entry() } else { 0 };
    if wake != 0 || local.waits.has_turns.get() {
        note_some_turn(local, waiters.site().kind, wake);
    }
}

#[inline(never)]
fn note_some_turn(local: &Local, kind: u64, wake: u64) {
    if kind == 0 {
        return;
    }
    local.waits.has_turns.set(true);
    let mut turns = local.waits.turns.get();
    if turns.wake(kind) != wake {
        turns.note(kind, wake);
        local.waits.turns.set(turns);
    }
}

/// What lies between two yields of one spinning lock: nothing but a look at the lock, and
/// the recorder. With 20 µs, which leaves room for any lock's pauses, a thread that took a
/// lock for a microsecond and came back a microsecond later was seen to wait 4.9 times
/// as long as it did; with this 0.93 (`xtask bench share`).
const SPIN_NANOS: u64 = 1_000;
/// The frames of one lock's slow path.
const SPIN_FRAMES_BYTES: u64 = 512;
/// The C function, the lock's slow path and its callers up to the one that says which
/// kind it is; and a last entry that says that the stack goes on.
const SITE_DEPTH: usize = 8;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
