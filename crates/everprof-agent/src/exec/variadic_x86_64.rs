//! `execl`, `execlp`, `execle`: arguments to array, System V x86-64.
//!
//! Four of the list's arguments arrive in rdx, rcx, r8, r9 and the first in
//! rsi; the others lie on the stack behind the return address. Popping that
//! address and pushing the registers puts all of them in one row.
//!
//! Context: signal. Twin of `variadic_aarch64.rs`.

use std::arch::naked_asm;
use std::ffi::{c_char, c_int};

macro_rules! list_to_array {
    ($target:path) => {
        naked_asm!(
            "pop rax",
            "push r9",
            "push r8",
            "push rcx",
            "push rdx",
            "push rsi",
            "mov rsi, rsp",
            // Keeps the return address, and the stack 16-aligned for the call.
            "push rax",
            "call {target}",
            "pop rcx",
            "add rsp, 40",
            // A `ret` to the caller's address, as a shadow stack expects.
            "push rcx",
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
