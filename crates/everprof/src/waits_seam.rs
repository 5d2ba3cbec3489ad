//! Between the profiles of waits and the recorder of waits.
//!
//! Context: cold. Invariant: nothing above this file knows how waits are recorded.
//! This build has no recorder: nothing is recorded, and periods are only remembered.

use std::sync::atomic::{AtomicU64, Ordering};

use everprof_profile::Profile;

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

/// Kinds of waits that are recorded only where somebody wants them.
#[cfg(feature = "environment")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Optional {
    Sleep,
    Io,
}

/// As the recorder begins: waits of 1 ms and more are recorded exactly.
const FIRST_PERIOD_NANOS: u64 = 1_000_000;

// Relaxed throughout: figures, on whose order nothing hangs.
static PERIODS: [AtomicU64; 2] = [const { AtomicU64::new(FIRST_PERIOD_NANOS) }; 2];
static ONE_IN: AtomicU64 = AtomicU64::new(1);

pub(crate) fn period_nanos(whose: Whose) -> u64 {
    PERIODS[whose as usize].load(Ordering::Relaxed)
}

pub(crate) fn set_period_nanos(whose: Whose, nanos: u64) {
    PERIODS[whose as usize].store(nanos, Ordering::Relaxed);
}

/// One in how many waits is charged to an unlocker; 0: none.
pub(crate) fn one_in() -> u64 {
    ONE_IN.load(Ordering::Relaxed)
}

/// What it was before.
pub(crate) fn set_one_in(n: u64) -> u64 {
    ONE_IN.swap(n, Ordering::Relaxed)
}

#[cfg(feature = "environment")]
fn want(_kind: Optional, _is_wanted: bool) {}

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
        want(Optional::Sleep, is_wanted);
    }
    if let Some(is_wanted) = told.io {
        want(Optional::Io, is_wanted);
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
    let _ = ask.idle;
    let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
    profile.set_default_sample_type("delay");
    profile.set_period_type("contentions", "count");
    profile.period = 1;
    profile
}
