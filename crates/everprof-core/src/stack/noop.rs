//! What the walk must know of a platform it does not know.
//!
//! Context: any. Twin of `x86_64.rs` and `aarch64.rs`.

use super::Registers;
use super::cfi::RegisterNumbers;

pub(crate) const NUMBERS: RegisterNumbers = RegisterNumbers::X86_64;
pub(crate) const TRAMPOLINE: u64 = 0;
pub(crate) const SIGNAL_FP: u64 = 0;
pub(crate) const SIGNAL_SP: u64 = 0;
pub(crate) const SIGNAL_PC: u64 = 0;
pub(crate) const SIGNAL_LR: u64 = 0;

#[inline(always)]
pub(crate) fn here() -> Registers {
    Registers {
        pc: 0,
        sp: 0,
        fp: 0,
        lr: 0,
    }
}

#[inline(always)]
pub(crate) fn strip(address: u64) -> u64 {
    address
}

pub(crate) const KEPT_REGISTERS: usize = 0;

/// Nobody reads it.
///
/// # Safety
///
/// None is asked.
#[inline(always)]
pub(crate) unsafe fn spill(_at: *mut u64, _mark: u64) {}

/// There is none.
///
/// # Safety
///
/// None is asked.
#[inline(always)]
pub(crate) unsafe fn take_back(_at: *mut u64) {}
