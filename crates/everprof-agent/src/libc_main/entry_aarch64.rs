//! `__libc_start_main` on aarch64: seven arguments in registers.
//!
//! Context: cold. Twin of `entry_x86_64.rs`.

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
        "stp x29, x30, [sp, #-80]!",
        "mov x29, sp",
        "stp x0, x1, [sp, #16]",
        "stp x2, x3, [sp, #32]",
        "stp x4, x5, [sp, #48]",
        "str x6, [sp, #64]",
        "bl {before_main}",
        "mov x16, x0",
        "ldp x0, x1, [sp, #16]",
        "ldp x2, x3, [sp, #32]",
        "ldp x4, x5, [sp, #48]",
        "ldr x6, [sp, #64]",
        "ldp x29, x30, [sp], #80",
        "br x16",
        before_main = sym super::before_main,
    )
}
