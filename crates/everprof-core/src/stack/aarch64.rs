//! What the walk must know of aarch64 Linux.
//!
//! Context: signal. Twin of `x86_64.rs`.

use core::arch::asm;

use super::Registers;
use super::cfi::RegisterNumbers;

pub(crate) const NUMBERS: RegisterNumbers = RegisterNumbers::AARCH64;

/// Offsets from the stack pointer at a signal trampoline: there stands a
/// `siginfo_t` of 128 bytes, then the `struct ucontext` whose `sigcontext`
/// starts at byte 176 with the fault address, x0–x30, sp, pc (Linux
/// `asm/sigcontext.h`).
pub(crate) const SIGNAL_FP: u64 = 128 + 176 + 8 + 29 * 8;
pub(crate) const SIGNAL_LR: u64 = SIGNAL_FP + 8;
pub(crate) const SIGNAL_SP: u64 = SIGNAL_LR + 8;
pub(crate) const SIGNAL_PC: u64 = SIGNAL_SP + 8;

/// `mov x8, #139; svc #0`, with which C libraries, kernels and emulators return
/// from a signal.
pub(crate) const TRAMPOLINE: u64 = 0xd400_0001_d280_1168;

/// The link register is read too: should the compiler move this before the
/// store of the link register in the prologue, the tables say that the return
/// address is still there.
#[inline(always)]
pub(crate) fn here() -> Registers {
    let (pc, sp, fp, lr): (u64, u64, u64, u64);
    // SAFETY: reads four registers, touches no memory, no flags and no stack.
    unsafe {
        asm!(
            "adr {pc}, .",
            "mov {sp}, sp",
            "mov {fp}, x29",
            "mov {lr}, x30",
            pc = out(reg) pc,
            sp = out(reg) sp,
            fp = out(reg) fp,
            lr = out(reg) lr,
            options(nomem, nostack, preserves_flags),
        );
    }
    Registers { pc, sp, fp, lr }
}

/// Takes a pointer authentication code off a return address: user space ends
/// at bit 48 (52-bit addresses are only given to those who ask for them by hint).
#[inline(always)]
pub(crate) fn strip(address: u64) -> u64 {
    address & 0x0000_ffff_ffff_ffff
}

/// The thread's control block: on threads made by pthreads it stands at the
/// upper end of the thread's stack.
#[inline(always)]
pub(crate) fn thread_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: reads one register.
    unsafe {
        asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags));
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
            "ldr {word}, [{address}]",
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
    // SAFETY: the kernel keeps all registers but x0; the rest is the caller's duty.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") one => result,
            in("x1") two,
            in("x2") three,
            in("x3") four,
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
            "adrp {0}, :got:_dl_find_object",
            "ldr {0}, [{0}, :got_lo12:_dl_find_object]",
            out(reg) address,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    address
}

/// x19 to x29, and x30 to make them even (AAPCS64).
pub(crate) const KEPT_REGISTERS: usize = 12;

/// Writes `mark` mixed with `at`, the thread pointer and the kept registers to `at`.
///
/// # Safety
///
/// `at` has room for so many words.
#[inline(always)]
pub(crate) unsafe fn spill(at: *mut u64, mark: u64) {
    // SAFETY: writes the fourteen words of the caller's promise. Memory is clobbered, so
    // that the words stay written while a call may sleep.
    unsafe {
        asm!(
            "eor {mark}, {mark}, {at}",
            "mrs {thread}, tpidr_el0",
            "stp {mark}, {thread}, [{at}]",
            "stp x19, x20, [{at}, #16]",
            "stp x21, x22, [{at}, #32]",
            "stp x23, x24, [{at}, #48]",
            "stp x25, x26, [{at}, #64]",
            "stp x27, x28, [{at}, #80]",
            "stp x29, x30, [{at}, #96]",
            at = in(reg) at,
            mark = inout(reg) mark => _,
            thread = out(reg) _,
            options(nostack, preserves_flags),
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
    unsafe { asm!("str xzr, [{at}]", at = in(reg) at, options(nostack, preserves_flags)) };
}
