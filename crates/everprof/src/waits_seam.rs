//! Between the profiles of waits and the recorder of waits.
//!
//! Context: cold. Invariant: nothing above this file knows how waits are recorded.
//! This build has settings and no recorder yet: nothing is recorded.

use everprof_core::global;
use everprof_core::settings::Name;
use everprof_profile::{LOCK_FRAMES, Profile};

use crate::block::ContentionRecord;
#[cfg(feature = "environment")]
use crate::config::Config;
use crate::profile::Ask;

/// Whose stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Of those who waited.
    Waiters,
    /// Of those whose wake ended a wait.
    Unlockers,
}

/// The bits of the operations that are recorded only where somebody wants them.
#[cfg(feature = "environment")]
const SLEEP: u64 = 1 << 5;
#[cfg(feature = "environment")]
const IO: u64 = 1 << 7;

impl Whose {
    fn period(self) -> Name {
        match self {
            Self::Waiters => Name::BlockPeriod,
            Self::Unlockers => Name::MutexPeriod,
        }
    }
}

pub(crate) fn period_nanos(whose: Whose) -> u64 {
    global::store().settings().get(whose.period())
}

pub(crate) fn set_period_nanos(whose: Whose, nanos: u64) {
    global::store().set(whose.period(), nanos);
}

/// One in how many wakes is recorded, whatever its length; 0: the period decides.
pub(crate) fn one_in() -> u64 {
    global::store().settings().get(Name::MutexFraction)
}

pub(crate) fn set_one_in(n: u64) {
    global::store().set(Name::MutexFraction, n);
}

#[cfg(feature = "environment")]
fn want(operation: u64, is_wanted: bool) {
    let others = global::store().settings().get(Name::WaitOperations) & !operation;
    let wanted = if is_wanted { operation } else { 0 };
    global::store().set(Name::WaitOperations, others | wanted);
}

/// Sets what `EVERPROF` told, before `main`.
#[cfg(feature = "environment")]
pub(crate) fn heed(told: &Config) {
    if let Some(nanos) = told.block_period_nanos {
        set_period_nanos(Whose::Waiters, nanos);
    }
    if let Some(nanos) = told.mutex_period_nanos {
        set_period_nanos(Whose::Unlockers, nanos);
    }
    if let Some(n) = told.mutex_one_in {
        set_one_in(n);
    }
    if let Some(is_wanted) = told.sleep {
        want(SLEEP, is_wanted);
    }
    if let Some(is_wanted) = told.io {
        want(IO, is_wanted);
    }
}

/// How many stacks there are.
pub(crate) fn count(_whose: Whose) -> usize {
    0
}

/// The records of this instant; those of idle workers where they are wanted.
pub(crate) fn records(_whose: Whose, _idle: bool) -> Vec<ContentionRecord<'static>> {
    Vec::new()
}

/// The profile of this instant, by addresses.
pub(crate) fn profile(_whose: Whose, ask: &Ask<'_>) -> Profile {
    let _ = (ask.idle, ask.names);
    let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
    profile.set_default_sample_type("delay");
    profile.set_period_type("contentions", "count");
    profile.period = 1;
    profile.set_drop_frames(LOCK_FRAMES);
    profile
}
