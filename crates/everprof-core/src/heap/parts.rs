//! What of an arena the heap's recorder writes: its ledger and the in-use store.
//!
//! Context: sampled. Invariant: as [`crate::parts`]: whole before it is found.

use crate::arena::Region;
use crate::inuse::InUse;
use crate::ledger::{self, Ledger};
use crate::lost::Lost;
use crate::sampler::Weight;

use super::tally;

/// The structures, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) region: Region<'a>,
    pub(crate) ledger: Ledger<'a>,
    pub(crate) in_use: InUse<'a>,
}

impl<'a> Parts<'a> {
    pub(crate) fn open(region: Region<'a>) -> Option<Self> {
        Some(Self {
            region,
            ledger: Ledger::open(region, ledger::Name::HEAP)?,
            in_use: InUse::open(region)?,
        })
    }

    /// Counts what cannot be followed until it is freed as freed at once.
    pub(crate) fn count_lost(&self, reason: Lost, weight: &Weight) {
        self.ledger.count_lost(reason, |cells| {
            tally::add_allocated(cells, weight);
            tally::add_freed(cells, weight);
        });
    }
}
