//! What the walk must know of x86_64 Linux.
//!
//! Context: signal. Twin of `aarch64.rs`.

use core::arch::asm;

use super::Registers;
use super::cfi::RegisterNumbers;

pub(crate) const NUMBERS: RegisterNumbers = RegisterNumbers::X86_64;

/// Offsets from the stack pointer at a signal trampoline: there begins the
/// `struct ucontext` whose `mcontext_t` starts at byte 40 with r8–r15, rdi, rsi,
/// rbp, rbx, rdx, rax, rcx, rsp, rip (Linux `asm/sigcontext.h`).
pub(crate) const SIGNAL_FP: u64 = 120;
pub(crate) const SIGNAL_SP: u64 = 160;
pub(crate) const SIGNAL_PC: u64 = 168;
/// There is no link register: any readable word does.
pub(crate) const SIGNAL_LR: u64 = 168;

/// The first eight bytes of `mov $15, %rax; syscall`, with which C libraries
/// whose trampoline has no tables (musl) return from a signal.
pub(crate) const TRAMPOLINE: u64 = 0x0f00_0000_0fc0_c748;

#[inline(always)]
pub(crate) fn here() -> Registers {
    let (pc, sp, fp): (u64, u64, u64);
    // SAFETY: reads three registers, touches no memory, no flags and no stack.
    unsafe {
        asm!(
            "lea {pc}, [rip]",
            "mov {sp}, rsp",
            "mov {fp}, rbp",
            pc = out(reg) pc,
            sp = out(reg) sp,
            fp = out(reg) fp,
            options(nomem, nostack, preserves_flags),
        );
    }
    Registers { pc, sp, fp, lr: 0 }
}

/// Return addresses carry no authentication code here.
#[inline(always)]
pub(crate) fn strip(address: u64) -> u64 {
    address
}

/// The thread's control block: on threads made by pthreads it stands at the
/// upper end of the thread's stack.
#[inline(always)]
pub(crate) fn thread_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: the x86_64 TLS ABI keeps the block's own address in its first word.
    unsafe {
        asm!("mov {}, qword ptr fs:[0]", out(reg) pointer, options(nostack, readonly, preserves_flags));
    }
    pointer
}

/// The word at an address. In assembly: it belongs to the program, which may
/// write it meanwhile, and may lie where a sanitizer lets no compiled code look,
/// between two objects or behind a frame that has returned.
///
/// # Safety
///
/// `address` is divisible by 8 and its page can be read.
#[inline(always)]
pub(crate) unsafe fn word(address: u64) -> u64 {
    let word: u64;
    // SAFETY: the caller's promise; reads, and touches nothing else.
    unsafe {
        asm!(
            "mov {word}, qword ptr [{address}]",
            address = in(reg) address,
            word = lateout(reg) word,
            options(nostack, readonly, preserves_flags),
        );
    }
    word
}

/// A system call of four words. Not through `libc::syscall`: that symbol is one
/// that profilers put themselves in front of, and it sets `errno`.
///
/// # Safety
///
/// The call must be sound with these arguments.
pub(crate) unsafe fn syscall4(number: i64, one: u64, two: u64, three: u64, four: u64) -> i64 {
    let result: i64;
    // SAFETY: the kernel keeps all registers but rax, rcx and r11; the rest is the caller's duty.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") one,
            in("rsi") two,
            in("rdx") three,
            in("r10") four,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Address of glibc's `_dl_find_object`, 0 where the C library has none (before
/// glibc 2.35, musl). A weak reference links on all of them.
pub(crate) fn find_object_address() -> u64 {
    let address: u64;
    // SAFETY: loads a slot of the global offset table.
    unsafe {
        asm!(
            ".weak _dl_find_object",
            "mov {}, qword ptr [rip + _dl_find_object@GOTPCREL]",
            out(reg) address,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    address
}

/// rbx, rbp, r12 to r15 (System V ABI).
pub(crate) const KEPT_REGISTERS: usize = 6;

/// Writes `mark` mixed with `at`, the thread pointer and the kept registers to `at`.
///
/// # Safety
///
/// `at` has room for so many words.
#[inline(always)]
pub(crate) unsafe fn spill(at: *mut u64, mark: u64) {
    // SAFETY: writes the eight words of the caller's promise. The thread's block has its own
    // address in its first word. Memory is clobbered, so that the words stay
    // written while a call may sleep.
    unsafe {
        asm!(
            "xor {mark}, {at}",
            "mov qword ptr [{at}], {mark}",
            "mov {mark}, qword ptr fs:[0]",
            "mov qword ptr [{at} + 8], {mark}",
            "mov qword ptr [{at} + 16], rbx",
            "mov qword ptr [{at} + 24], rbp",
            "mov qword ptr [{at} + 32], r12",
            "mov qword ptr [{at} + 40], r13",
            "mov qword ptr [{at} + 48], r14",
            "mov qword ptr [{at} + 56], r15",
            at = in(reg) at,
            mark = inout(reg) mark => _,
            options(nostack),
        );
    }
}

/// Makes the record at `at` none.
///
/// # Safety
///
/// `at` can be written.
#[inline(always)]
pub(crate) unsafe fn take_back(at: *mut u64) {
    // SAFETY: the caller's promise. In assembly: to the compiler nobody reads it.
    unsafe { asm!("mov qword ptr [{at}], 0", at = in(reg) at, options(nostack, preserves_flags)) };
}
