//! A list of arguments as an array, System V x86-64.
//!
//! Context: signal. Twin of `aarch64.rs`.
//! Invariant: the caller's words on the stack stay where they are, and the return address is
//! in its place again when the call has failed.
//!
//! Of the list rsi, rdx, rcx, r8 and r9 have five; the others lie on the stack behind the
//! return address. Taking that off and pushing the registers puts all of them in one row.

use core::arch::naked_asm;
use core::ffi::{c_char, c_int};

macro_rules! list_to_array {
    ($target:path) => {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            "pop rax",
            ".cfi_def_cfa_offset 0",
            ".cfi_register rip, rax",
            "push r9",
            "push r8",
            "push rcx",
            "push rdx",
            "push rsi",
            ".cfi_def_cfa_offset 40",
            "mov rsi, rsp",
            // Keeps the return address, and the stack 16-aligned for the call.
            "push rax",
            ".cfi_def_cfa_offset 48",
            ".cfi_offset rip, -48",
            "call {target}",
            "pop rcx",
            ".cfi_def_cfa_offset 40",
            ".cfi_register rip, rcx",
            "add rsp, 40",
            ".cfi_def_cfa_offset 0",
            // A `ret` to the caller's address, as a shadow stack expects.
            "push rcx",
            ".cfi_def_cfa_offset 8",
            ".cfi_offset rip, -8",
            "ret",
            ".cfi_endproc",
            target = sym $target,
        )
    };
}

/// C's `execl`.
///
/// # Safety
/// As POSIX's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn execl(_path: *const c_char, _first: *const c_char) -> c_int {
    list_to_array!(libc::execv)
}

/// C's `execlp`.
///
/// # Safety
/// As POSIX's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn execlp(_file: *const c_char, _first: *const c_char) -> c_int {
    list_to_array!(libc::execvp)
}

/// C's `execle`.
///
/// # Safety
/// As POSIX's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn execle(_path: *const c_char, _first: *const c_char) -> c_int {
    list_to_array!(super::with_variables)
}
