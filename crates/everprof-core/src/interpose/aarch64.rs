//! `syscall`, and a system call of our own, on aarch64.
//!
//! Context: signal. Twin of `x86_64.rs`.
//! Invariant: between a caller and the kernel stands no frame, unless the call is a
//! futex or has failed: `clone` returns on another stack, `vfork` returns twice to one.

use core::arch::{asm, naked_asm};

use super::{errno, futex};

/// C's `syscall`.
///
/// All seven arguments come in registers, and the kernel wants each of them one register
/// earlier, the number in w8. A futex is left to Rust by a jump: there the arguments are
/// those of a function of seven, and what Rust returns goes straight to the caller.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn syscall() {
    naked_asm!(
        ".cfi_startproc",
        "cmp w0, #{futex_number}",
        // A conditional branch does not reach far enough to be bound by a linker.
        "b.ne 2f",
        "b {futex}",
        "2:",
        "uxtw x8, w0",
        "mov x0, x1",
        "mov x1, x2",
        "mov x2, x3",
        "mov x3, x4",
        "mov x4, x5",
        "mov x5, x6",
        "svc #0",
        "cmn x0, #4095",
        "b.cs 3f",
        "ret",
        // Nobody has been cloned: the stack is the caller's alone again.
        "3:",
        "b {fail}",
        ".cfi_endproc",
        futex_number = const libc::SYS_futex,
        futex = sym futex::futex,
        fail = sym errno::fail,
    )
}

/// A system call; what the kernel returned.
///
/// # Safety
/// The call must be sound with these words.
#[inline(always)]
pub(super) unsafe fn call(number: i64, words: [usize; 6]) -> isize {
    let [one, two, three, four, five, six] = words;
    let result: isize;
    // SAFETY: the kernel keeps all registers but x0; the rest is the caller's duty.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") one as isize => result,
            in("x1") two,
            in("x2") three,
            in("x3") four,
            in("x4") five,
            in("x5") six,
            options(nostack),
        );
    }
    result
}
