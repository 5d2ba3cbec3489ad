//! `execl`, `execlp`, `execle`: arguments to array, AAPCS64.
//!
//! Seven of the list's arguments arrive in x1 to x7; the others lie on the
//! stack at sp. Storing the registers right below puts all of them in one row.
//!
//! Context: signal. Twin of `variadic_x86_64.rs`.

use std::arch::naked_asm;
use std::ffi::{c_char, c_int};

macro_rules! list_to_array {
    ($target:path) => {
        naked_asm!(
            "sub sp, sp, #80",
            "stp x29, x30, [sp]",
            "mov x29, sp",
            "str x1, [sp, #24]",
            "stp x2, x3, [sp, #32]",
            "stp x4, x5, [sp, #48]",
            "stp x6, x7, [sp, #64]",
            "add x1, sp, #24",
            "bl {target}",
            "ldp x29, x30, [sp]",
            "add sp, sp, #80",
            "ret",
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
pub unsafe extern "C" fn execl(_path: *const c_char, _first: *const c_char) -> c_int {
    list_to_array!(super::execv)
}

/// C's `execlp`.
///
/// # Safety
/// As POSIX's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn execlp(_file: *const c_char, _first: *const c_char) -> c_int {
    list_to_array!(super::execvp)
}

/// C's `execle`.
///
/// # Safety
/// As POSIX's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn execle(_path: *const c_char, _first: *const c_char) -> c_int {
    list_to_array!(super::execle_array)
}
