//! A list of arguments as an array, AAPCS64.
//!
//! Context: signal. Twin of `x86_64.rs`.
//! Invariant: the caller's words on the stack stay where they are.
//!
//! Of the list x1 to x7 have seven; the others lie on the stack at sp. Storing the registers
//! right below puts all of them in one row.

use core::arch::naked_asm;
use core::ffi::{c_char, c_int};

macro_rules! list_to_array {
    ($target:path) => {
        naked_asm!(
            ".cfi_startproc",
            // `bti c`, where it is known.
            "hint #34",
            "sub sp, sp, #80",
            ".cfi_def_cfa_offset 80",
            "stp x29, x30, [sp]",
            ".cfi_offset x29, -80",
            ".cfi_offset x30, -72",
            "mov x29, sp",
            "str x1, [sp, #24]",
            "stp x2, x3, [sp, #32]",
            "stp x4, x5, [sp, #48]",
            "stp x6, x7, [sp, #64]",
            "add x1, sp, #24",
            "bl {target}",
            "ldp x29, x30, [sp]",
            ".cfi_restore x29",
            ".cfi_restore x30",
            "add sp, sp, #80",
            ".cfi_def_cfa_offset 0",
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
