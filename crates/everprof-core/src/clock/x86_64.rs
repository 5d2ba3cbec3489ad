//! The time-stamp counter.
//!
//! Context: any. Twin of `aarch64.rs` and `noop.rs`.
//! Source: Intel SDM vol. 3, "Time-Stamp Counter"; AMD APM vol. 3, CPUID Fn8000_0007.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

/// What the kernel calls it (`arch/x86/kernel/tsc.c`). Where it goes by that, the counters of
/// all processors agree: it has tested them against each other.
pub(super) const CLOCK_SOURCE: &[u8] = b"tsc";

/// Whether its rate is the same at any speed of the processor, and in its sleep.
pub(super) fn is_steady() -> bool {
    const POWER: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & INVARIANT != 0
}

/// As early as the processor likes.
#[inline(always)]
pub(super) fn read() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: reads the counter into two registers and touches nothing else. (A process may
    // forbid itself to: then the kernel's clock, which reads it too, ends it as well.)
    unsafe {
        asm!(
            "rdtsc",
            out("rax") low,
            out("rdx") high,
            options(nostack, nomem, preserves_flags),
        );
    }
    high << 32 | low
}

/// After all instructions before: `lfence` waits for them, on AMD by a setting that Linux
/// makes. What comes after may begin before, but is not seen by others before.
#[inline(always)]
pub(super) fn read_in_order() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: as above. Not `nomem`, so that the compiler moves no access across it, either.
    unsafe {
        asm!(
            "lfence",
            "rdtsc",
            out("rax") low,
            out("rdx") high,
            options(nostack, preserves_flags),
        );
    }
    high << 32 | low
}
