//! What of an arena the recorder of waits writes: two ledgers, and who waits now.
//!
//! Context: sampled. Invariant: as [`crate::parts`]: whole before it is found.

use super::addresses::Addresses;
use super::log::Log;
use super::slots::Slots;
use crate::arena::{Region, Root};
use crate::ledger::{self, Ledger};
use crate::table::Table;

/// Makes what no ledger is. `None`: no room.
pub(crate) fn create(region: Region<'_>) -> Option<()> {
    Slots::create(region)?;
    Addresses::create(region)?;
    Log::create(region)?;
    Table::create(region, Root::WaitSites)?;
    Some(())
}

/// Nobody waits: in a fork's child, where only one thread is. Sites are facts about
/// code and stay.
pub(crate) fn disown(region: Region<'_>) {
    if let Some(slots) = Slots::open(region) {
        slots.reset();
    }
    if let Some(addresses) = Addresses::open(region) {
        addresses.reset();
    }
    if let Some(log) = Log::open(region) {
        log.reset();
    }
}

/// Waits by who waited.
pub(crate) fn block(region: Region<'_>) -> Option<Ledger<'_>> {
    Ledger::open(region, ledger::Name::BLOCK)
}

/// Waits by who ended them.
pub(crate) fn mutex(region: Region<'_>) -> Option<Ledger<'_>> {
    Ledger::open(region, ledger::Name::MUTEX)
}

/// The stacks that lead into locks.
pub(crate) fn sites(region: Region<'_>) -> Option<Table<'_>> {
    Table::open(region, Root::WaitSites)
}
