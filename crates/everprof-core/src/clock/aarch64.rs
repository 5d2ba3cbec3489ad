//! The virtual counter.
//!
//! Context: any. Twin of `x86_64.rs` and `noop.rs`.
//! Source: Arm ARM, "The Generic Timer". `CNTFRQ_EL0` is not asked for the rate: firmware
//! writes it, and where that is wrong the device tree tells the kernel another.

use core::arch::asm;

/// What the kernel calls it (`drivers/clocksource/arm_arch_timer.c`).
pub(super) const CLOCK_SOURCE: &[u8] = b"arch_sys_counter";

/// It is by its definition. Where an erratum makes the kernel read it in the process's
/// place, that takes so long that the clock refuses it.
pub(super) fn is_steady() -> bool {
    true
}

/// As early as the processor likes.
#[inline(always)]
pub(super) fn read() -> u64 {
    let ticks: u64;
    // SAFETY: reads a register that Linux lets programs read, and touches nothing else.
    unsafe {
        asm!(
            "mrs {}, cntvct_el0",
            out(reg) ticks,
            options(nostack, nomem, preserves_flags),
        );
    }
    ticks
}

/// After all instructions before, for which `isb` waits.
#[inline(always)]
pub(super) fn read_in_order() -> u64 {
    let ticks: u64;
    // SAFETY: as above. Not `nomem`, so that the compiler moves no access across it, either.
    unsafe {
        asm!(
            "isb",
            "mrs {}, cntvct_el0",
            out(reg) ticks,
            options(nostack, preserves_flags),
        );
    }
    ticks
}
