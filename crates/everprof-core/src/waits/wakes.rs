//! Wakes: what a recorder of waits does where somebody ends the waits of others.
//!
//! Context: sampled. Invariant: what the waiters waited is charged before the call that lets
//! them go; who is charged is captured after it, and only if recorded.
//!
//! ```text
//! look up → clock → charge → (log) │ the call │ sampled? capture → count → lay the chain
//! ```
//!
//! Before, because a waiter that is woken may be gone, and its record another address', by
//! the time the call returns. After, because a capture before it would lengthen the very
//! waits that are measured. Where nobody waits it is one look-up.

use super::addresses::{Addresses, Charge};
use super::chain::{self, Link};
use super::chance::{Threshold, Weight, one_in};
use super::log::Log;
use super::recorder::this_thread;
use super::waiters::Waiters;
use super::{Recorder, parts, tally};
use crate::arena::Region;
use crate::clock;
use crate::labels;
use crate::local::Local;
use crate::lost::Lost;
use crate::scratch::bucket_of;
use crate::settings::Name;
use crate::stack::{self, Registers};
use crate::store::Generation;

/// A wake that is charged with what others waited.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Charged {
    generation: Generation,
    nanos: u64,
    site: u32,
    /// How it was decided that it is recorded; none: it is not.
    chance: Option<Chance>,
    /// Its place in the chain, if it has one.
    link: Option<Link>,
}

/// How it was decided that a wake is recorded.
#[derive(Clone, Copy, Debug)]
enum Chance {
    Longer(Threshold),
    OneIn(u64),
}

impl Recorder<'_> {
    /// This thread is about to wake waiters of `address`.
    #[inline(never)]
    #[must_use]
    pub fn before_wake(self, address: usize) -> Option<Charged> {
        self.before_wake_with(this_thread(), address, clock::early_nanos)
    }

    /// It has woken so many.
    #[cold]
    #[inline(never)]
    pub fn after_wake(self, charged: &Charged, registers: &Registers, woken: u32) {
        let local = this_thread();
        let skip = self.store.own_text();
        self.after_wake_with(local, charged, woken, |stack| {
            stack::capture(registers, &local.stack, stack, &skip).depth
        });
    }

    /// As [`Recorder::before_wake`], with any thread state and clock.
    #[inline(always)]
    #[must_use]
    pub fn before_wake_with(
        self,
        local: &Local,
        address: usize,
        clock: impl FnOnce() -> u64,
    ) -> Option<Charged> {
        if !self.charges() {
            return None;
        }
        let region = self.store.own_region()?;
        let charge = Addresses::open(region)?.wake(address as u64, clock)?;
        // What everprof's own threads end is nobody's, and must not be the next waker's.
        if local.excluded.get() {
            self.lose_wait(local, region, charge.nanos);
            return None;
        }
        let (period_nanos, fraction) = self.mutex_settings();
        let chance = match fraction {
            0 => {
                let threshold = Threshold::draw(local, period_nanos);
                (charge.nanos > threshold.nanos).then_some(Chance::Longer(threshold))
            }
            n => Some(Chance::OneIn(n)),
        };
        let link = self.link(local, region, &charge);
        if chance.is_none() && link.is_none() {
            return None;
        }
        Some(Charged {
            generation: self.store.generation(),
            nanos: charge.nanos,
            site: charge.site.number,
            chance,
            link,
        })
    }

    /// As [`Recorder::after_wake`], with any thread state and source of stacks.
    #[inline(always)]
    pub fn after_wake_with(
        self,
        local: &Local,
        charged: &Charged,
        woken: u32,
        mut capture: impl FnMut(&mut [u64]) -> usize,
    ) {
        let count = u64::from(woken.max(1));
        let weight = charged.chance.and_then(|chance| match chance {
            Chance::Longer(threshold) => threshold.weigh(local, charged.nanos, count),
            Chance::OneIn(n) => one_in(local, n, charged.nanos, count),
        });
        if weight.is_some() || charged.link.is_some() {
            let labels = labels::in_force(self.store, local);
            self.record_wake(charged, labels, weight.as_ref(), count, &mut capture);
        }
    }

    /// Whether wakes are charged at all.
    #[inline(always)]
    pub(super) fn charges(self) -> bool {
        let (period_nanos, fraction) = self.mutex_settings();
        period_nanos | fraction != 0
    }

    /// Logs a wake, if it is of the one thread that waits on a word.
    #[inline(always)]
    fn link(self, local: &Local, region: Region<'_>, charge: &Charge) -> Option<Link> {
        let waiters = Addresses::open(region)?.waiters_of(charge.record)?;
        if charge.alone {
            return self.log(local, region, waiters, charge);
        }
        // What it logged before says nothing of who is woken now.
        if waiters.entry() != 0 {
            waiters.set_entry(0);
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn log(
        self,
        local: &Local,
        region: Region<'_>,
        waiters: &Waiters,
        charge: &Charge,
    ) -> Option<Link> {
        let (period_nanos, fraction) = self.mutex_settings();
        let weight = match fraction {
            0 => chain::weight_of(charge.nanos, period_nanos),
            n => u32::try_from(n).unwrap_or(u32::MAX),
        };
        let link = Link::of(
            &Log::open(region)?,
            local,
            (charge.now_nanos, charge.nanos),
            weight,
            local.waits.turns.get().wake(charge.site.kind),
        );
        // Before the call: who is woken by it looks here.
        waiters.set_entry(link.number);
        Some(link)
    }

    #[cold]
    #[inline(never)]
    fn record_wake(
        self,
        charged: &Charged,
        labels: u32,
        weight: Option<&Weight>,
        count: u64,
        capture: &mut impl FnMut(&mut [u64]) -> usize,
    ) {
        let Some(region) = self.store.own_region() else {
            return;
        };
        if self.store.generation() != charged.generation {
            return;
        }
        let (Some(ledger), Some(log)) = (parts::mutex(region), Log::open(region)) else {
            return;
        };
        let own_nanos = charged.link.map_or(0, |link| link.lay(&log, &ledger));
        let link = charged.link.filter(|link| link.recorded);
        if weight.is_none() && link.is_none() {
            return;
        }
        let Some(bucket) = bucket_of(&ledger, u64::from(charged.site), labels, capture) else {
            return;
        };
        self.store.note_modules(region);
        let owed_nanos = link.map_or(0, |link| log.tell(link.number, bucket));
        ledger.count(bucket, |cells| {
            if let Some(weight) = weight {
                tally::add(cells, weight);
                // Where there is no chain it says the same.
                if charged.link.is_none() {
                    tally::add_chain(cells, weight);
                }
            }
            if let Some(link) = link {
                chain::count(cells, count, own_nanos + owed_nanos, link.weight);
            }
        });
    }

    /// The mutex profile's period, and its fraction.
    #[inline(always)]
    fn mutex_settings(self) -> (u64, u64) {
        let settings = self.store.settings();
        (
            settings.get(Name::MutexPeriod),
            settings.get(Name::MutexFraction),
        )
    }

    /// Counts what was waited for an address, and cannot be charged to anybody.
    #[cold]
    #[inline(never)]
    pub(super) fn lose_wait(self, local: &Local, region: Region<'_>, delay_nanos: u64) {
        let settings = self.store.settings();
        let weight = match settings.get(Name::MutexFraction) {
            0 => {
                Threshold::draw(local, settings.get(Name::MutexPeriod)).weigh(local, delay_nanos, 1)
            }
            n => one_in(local, n, delay_nanos, 1),
        };
        if let (Some(weight), Some(ledger)) = (weight, parts::mutex(region)) {
            ledger.count_lost(Lost::WaitUnattributed, |cells| tally::add(cells, &weight));
        }
    }
}
