//! `__libc_start_main` on x86-64: six arguments in registers, a seventh on the stack.
//!
//! Context: cold. Twin of `entry_aarch64.rs`.

use std::arch::naked_asm;

/// The C library's entry: initialises, calls `main`, exits. Both versions of
/// glibc's symbol are one function, which looks at its arguments to tell them apart.
///
/// # Safety
/// As the C library's; called by the executable's entry code only.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn __libc_start_main() {
    naked_asm!(
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        "push r8",
        "push r9",
        // The stack is 16-aligned for the call.
        "sub rsp, 8",
        "call {before_main}",
        "add rsp, 8",
        "pop r9",
        "pop r8",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "jmp rax",
        before_main = sym super::before_main,
    )
}
