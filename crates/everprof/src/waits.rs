//! What the profiles `block` and `mutex` have in common: their settings, and how they
//! are taken.
//!
//! Context: cold. Invariant: both are of the same recorder, by waiter and by waker.

use std::borrow::Cow;

use everprof_core::global;
use everprof_core::settings::Name;
#[cfg(feature = "environment")]
use everprof_core::waits::Operation;
use everprof_core::waits::Tally;

use crate::assemble;
use crate::block::ContentionRecord;
#[cfg(feature = "environment")]
use crate::config::Config;

/// Whose stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Of those who waited.
    Waiters,
    /// Of those whose wake ended a wait.
    Unlockers,
}

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
fn want(operation: Operation, is_wanted: bool) {
    let operation = 1 << operation as u64;
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
        want(Operation::Sleep, is_wanted);
    }
    if let Some(is_wanted) = told.io {
        want(Operation::Io, is_wanted);
    }
}

/// How many stacks there are.
pub(crate) fn count(whose: Whose) -> usize {
    match whose {
        Whose::Waiters => global::waits().block().iter().count(),
        Whose::Unlockers => global::waits().mutex().iter().count(),
    }
}

/// The records of this instant.
pub(crate) fn records(whose: Whose) -> Vec<ContentionRecord<'static>> {
    let mut records = Vec::new();
    let visit = |stack: &[u64], waits: &Tally| {
        records.push(ContentionRecord {
            contentions: waits.contentions.round() as u64,
            delay_nanos: waits.delay_nanos,
            stack: Cow::Owned(stack.to_vec()),
        });
    };
    match whose {
        Whose::Waiters => assemble::block_records(visit),
        Whose::Unlockers => assemble::mutex_records(visit),
    }
    records
}
