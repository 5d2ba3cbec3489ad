//! What of an arena the heap's profile is made of: its ledger and the in-use store.
//!
//! Context: sampled. Invariant: as [`crate::parts`]: whole before it is found.

use crate::arena::Region;
use crate::inuse::InUse;
use crate::ledger::{self, Ledger};

/// The structures, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) ledger: Ledger<'a>,
    pub(crate) in_use: InUse<'a>,
}

impl<'a> Parts<'a> {
    pub(crate) fn open(region: Region<'a>) -> Option<Self> {
        Some(Self {
            ledger: Ledger::open(region, ledger::Name::HEAP)?,
            in_use: InUse::open(region)?,
        })
    }
}
