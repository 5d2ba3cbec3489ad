//! A thread's first instructions, on x86-64.
//!
//! Context: signal. Twin of `aarch64.rs`.
//! Invariant: when the routine is entered, the stack and the return address are as the
//! C library left them.

use core::arch::naked_asm;

use super::started;

/// What the C library runs in place of the program's routine: asks for it, and jumps there.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn begin() {
    naked_asm!(
        ".cfi_startproc",
        "endbr64",
        // A call finds the stack aligned to 16.
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "call {started}",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "mov rdi, rdx",
        "jmp rax",
        ".cfi_endproc",
        started = sym started,
    )
}
