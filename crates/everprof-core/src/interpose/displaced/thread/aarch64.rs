//! A thread's first instructions, on aarch64.
//!
//! Context: signal. Twin of `x86_64.rs`.
//! Invariant: when the routine is entered, the stack and the return address are as the
//! C library left them.

use core::arch::naked_asm;

use super::started;

/// What the C library runs in place of the program's routine: asks for it, and jumps there.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn begin() {
    naked_asm!(
        ".cfi_startproc",
        // `bti c`, where it is known.
        "hint #34",
        "stp x29, x30, [sp, #-16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset x29, -16",
        ".cfi_offset x30, -8",
        "mov x29, sp",
        "bl {started}",
        "ldp x29, x30, [sp], #16",
        ".cfi_restore x29",
        ".cfi_restore x30",
        ".cfi_def_cfa_offset 0",
        // By x16, from which a jump may come to where a call may.
        "mov x16, x0",
        "mov x0, x1",
        "br x16",
        ".cfi_endproc",
        started = sym started,
    )
}
