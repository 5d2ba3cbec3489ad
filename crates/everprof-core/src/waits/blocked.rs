//! Who is blocked now: the waits under way, as thread dumps show them.
//!
//! Context: cold. Invariant: what is told of a wait was true of it at one instant, and
//! its thread was alive.

use super::addresses::Addresses;
use super::slots::{Seen, Slots, TIMED};
use super::{Latest, Operation, Recorder};
use crate::arena::Region;
use crate::clock;
use crate::stack::Registers;
use crate::sys;

/// A wait that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Blocked {
    /// The thread as the kernel knows it.
    pub tid: u32,
    /// What it waits in.
    pub operation: Operation,
    /// What it waits for; 0: nothing that has an address.
    pub address: usize,
    /// Since when, on the monotonic clock.
    pub since_nanos: u64,
    /// Whether the clock may end it.
    pub timed: bool,
    /// The label set in force; 0: none.
    pub labels: u32,
    /// Those of the frame that waits. What they point to may be gone by the time it
    /// is read.
    pub registers: Registers,
}

/// A wait that is under way, or was lately.
#[derive(Debug)]
pub(crate) struct UnderWay<'s> {
    seen: Seen<'s>,
    blocked: Blocked,
}

impl AsRef<Blocked> for Blocked {
    fn as_ref(&self) -> &Blocked {
        self
    }
}

impl AsRef<Blocked> for UnderWay<'_> {
    fn as_ref(&self) -> &Blocked {
        &self.blocked
    }
}

impl UnderWay<'_> {
    /// Whether it still is. Its thread may be gone.
    pub(crate) fn goes_on(&self) -> bool {
        self.seen.is_still_there()
    }
}

impl<'s> Recorder<'s> {
    /// The waits that are under way; nobody has looked whether their threads are alive.
    pub(crate) fn under_way(self) -> Latest<UnderWay<'s>> {
        let mut waits = Vec::new();
        if let Some(region) = self.store.own_region()
            && let Some(slots) = Slots::open(region)
            && let Some(addresses) = Addresses::open(region)
        {
            slots.for_each(|seen| {
                if let Some(blocked) = blocked(&seen, &addresses) {
                    waits.push(UnderWay { seen, blocked });
                }
            });
        }
        Latest::of(waits)
    }

    /// Who is blocked now, each by the wait that it is in.
    #[must_use]
    pub fn blocked(self) -> Latest<Blocked> {
        let mut waits = Vec::new();
        self.for_each_blocked(|blocked| waits.push(*blocked));
        Latest::of(waits)
    }

    /// Calls `visit` with each wait that is under way; of one thread, those that it is in
    /// the midst of come in no order.
    pub fn for_each_blocked(self, mut visit: impl FnMut(&Blocked)) {
        let Some(region) = self.store.own_region() else {
            return;
        };
        let (Some(slots), Some(addresses)) = (Slots::open(region), Addresses::open(region)) else {
            return;
        };
        slots.for_each(|seen| {
            if !sys::thread_is_alive(seen.entry.tid) {
                reap(&seen, &addresses);
            } else if let Some(blocked) = blocked(&seen, &addresses) {
                visit(&blocked);
            }
        });
    }

    /// Forgets the waits of threads that are gone: cancelled in the midst of one.
    pub(super) fn reap(region: Region<'_>) {
        let (Some(slots), Some(addresses)) = (Slots::open(region), Addresses::open(region)) else {
            return;
        };
        slots.for_each(|seen| {
            if !sys::thread_is_alive(seen.entry.tid) {
                reap(&seen, &addresses);
            }
        });
    }
}

fn reap(seen: &Seen<'_>, addresses: &Addresses<'_>) {
    let place = seen.reap();
    if !place.is_none() {
        // Nobody knows when it ended; no later than the last wake.
        addresses.leave(place.record(), place.start(), clock::now_nanos(), true);
    }
}

fn blocked(seen: &Seen<'_>, addresses: &Addresses<'_>) -> Option<Blocked> {
    let entry = &seen.entry;
    let [pc, sp, fp, lr] = entry.registers;
    Some(Blocked {
        tid: entry.tid,
        operation: Operation::of_number(u64::from(entry.what & 0xff))?,
        // It may have been requeued to another.
        address: if seen.place.is_none() {
            entry.address
        } else {
            addresses.address(seen.place.record())
        } as usize,
        since_nanos: entry.since_nanos,
        timed: entry.what & TIMED != 0,
        labels: entry.labels,
        registers: Registers { pc, sp, fp, lr },
    })
}
