//! `syscall`, and a system call of our own, on x86-64.
//!
//! Context: signal. Twin of `aarch64.rs`.
//! Invariant: between a caller and the kernel stands no frame, unless the call is a
//! futex or has failed: `clone` returns on another stack, `vfork` returns twice to one.

use core::arch::{asm, naked_asm};

use super::{errno, futex};

/// C's `syscall`.
///
/// C passes the number and the first five words in registers, the sixth on the stack,
/// and the kernel wants them one register further on, the fourth in r10. A futex is
/// left to Rust by a jump: there the arguments are those of a function of seven, and
/// what Rust returns goes straight to the caller.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn syscall() {
    naked_asm!(
        ".cfi_startproc",
        "cmp rdi, {futex_number}",
        "je {futex}",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, qword ptr [rsp + 8]",
        "syscall",
        "cmp rax, -4095",
        "jae 2f",
        "ret",
        // Nobody has been cloned: the stack is the caller's alone again.
        "2:",
        "mov rdi, rax",
        "jmp {fail}",
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
    // SAFETY: the kernel keeps all registers but rax, rcx and r11; the rest is the
    // caller's duty.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") one,
            in("rsi") two,
            in("rdx") three,
            in("r10") four,
            in("r8") five,
            in("r9") six,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
