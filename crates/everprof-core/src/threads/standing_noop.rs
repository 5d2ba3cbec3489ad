//! Nobody is known to stand still.
//!
//! Context: cold. Twin of `standing.rs`.

use super::super::lock_address::{LockAddress, StandingWait};

/// As in `standing.rs`.
pub const REACH_BYTES: u64 = 64 << 10;

/// As in `standing.rs`.
#[derive(Clone, Copy, Debug)]
pub struct WhoAsks(());

impl WhoAsks {
    /// Runs `call`.
    pub fn this_thread<R>(call: impl FnOnce(Self) -> R) -> R {
        call(Self(()))
    }
}

/// Never made.
#[derive(Debug)]
pub struct Standing(());

/// Never made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StandingThread<'s> {
    /// The kernel's number of it.
    pub id: u32,
    /// At most 15 bytes.
    pub name: &'s [u8],
    /// The wait that it is in.
    pub wait: Option<&'s StandingWait>,
    /// Leaf first.
    pub stack: &'s [u64],
}

impl Standing {
    /// Never.
    #[must_use]
    pub fn look(_until_nanos: u64, _asker: WhoAsks) -> Option<Self> {
        None
    }

    /// Nobody.
    pub fn threads(&self) -> impl ExactSizeIterator<Item = StandingThread<'_>> {
        std::iter::empty()
    }

    /// Nobody knows.
    #[must_use]
    pub fn may_hold(&self, locks: &[LockAddress]) -> Vec<Option<Vec<usize>>> {
        vec![None; locks.len()]
    }

    /// Nobody knows.
    #[must_use]
    pub fn leads_to(&self, _thread: usize, locks: &[LockAddress]) -> Vec<bool> {
        vec![true; locks.len()]
    }

    /// Nobody knows.
    #[must_use]
    pub fn owner(&self, _wait: &StandingWait) -> Option<usize> {
        None
    }

    /// Nobody knows.
    #[must_use]
    pub fn thread_of(&self, _pthread: u64) -> Option<usize> {
        None
    }

    /// Nothing has changed.
    pub fn look_again(&mut self) -> bool {
        true
    }

    /// Nobody knows.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        false
    }

    /// Nobody does.
    #[must_use]
    pub fn is_still(&self, _thread: usize) -> bool {
        false
    }
}
