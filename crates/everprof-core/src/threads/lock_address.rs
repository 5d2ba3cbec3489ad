//! Addresses of locks that are not kept as such.
//!
//! Context: cold. Invariant: no memory of whoever looks for a lock holds its address as
//! a word.
//!
//! Who may hold a lock is told by whether its address stands where a thread's stack leads to.
//! Memory that we have used and given back is the program's again, and what it holds
//! stays there: were it the address, the next look would find it.

use std::fmt;

use crate::waits::{Blocked, Operation};

/// An address, as its complement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockAddress(u64);

impl LockAddress {
    /// Of this address.
    #[must_use]
    pub fn new(address: u64) -> Self {
        Self(!address)
    }

    /// The address.
    #[must_use]
    pub fn get(self) -> u64 {
        !self.0
    }

    /// The word that stands for it.
    pub(super) fn word(self) -> u64 {
        self.0
    }
}

impl fmt::LowerHex for LockAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.get(), f)
    }
}

/// In hexadecimal digits.
impl fmt::Debug for LockAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#x}")
    }
}

/// A wait that a thread sleeps in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingWait {
    /// What it waits in.
    pub operation: Operation,
    /// What it waits for; the one of 0: nothing that has an address.
    pub address: LockAddress,
    /// Since when, on the monotonic clock.
    pub since_nanos: u64,
    /// Whether the clock may end it.
    pub timed: bool,
    /// The stack pointer of the frame that waits.
    pub sp: u64,
}

impl StandingWait {
    pub(super) fn of(wait: &Blocked) -> Self {
        Self {
            operation: wait.operation,
            address: LockAddress::new(wait.address as u64),
            since_nanos: wait.since_nanos,
            timed: wait.timed,
            sp: wait.registers.sp,
        }
    }
}
