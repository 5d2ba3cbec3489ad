//! The kernel, without a C library between: the truth about `syscall`.

use std::arch::asm;
use std::ffi::c_long;

/// A system call of six words; what the kernel returned.
#[cfg(target_arch = "x86_64")]
pub fn kernel(number: c_long, words: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: each test gives words that are sound for its call.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") words[0],
            in("rsi") words[1], in("rdx") words[2], in("r10") words[3], in("r8") words[4],
            in("r9") words[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A system call of six words; what the kernel returned.
#[cfg(target_arch = "aarch64")]
pub fn kernel(number: c_long, words: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: each test gives words that are sound for its call.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") words[0] as isize => result,
            in("x1") words[1], in("x2") words[2], in("x3") words[3], in("x4") words[4],
            in("x5") words[5], options(nostack));
    }
    result
}

/// `syscall(SYS_clone, flags, stack)` whose child ends by `syscall(SYS_exit, 23)`, as a C
/// program's would; the child's number, or −1.
#[cfg(target_arch = "x86_64")]
pub fn clone_and_exit(flags: usize, stack: usize) -> isize {
    let result: isize;
    // SAFETY: the child touches its own stack, or pushes below ours while this thread waits;
    // what returns here is the parent.
    unsafe {
        asm!(
            // Where it shares our stack, the child must not write over what the parent
            // returns by: it goes on further down.
            "mov r12, rsp",
            "and rsp, -16",
            // A child on a stack of its own returns from the function there.
            "test rdx, rdx",
            "jz 3f",
            "lea rax, [rip + 4f]",
            "sub rdx, 8",
            "mov qword ptr [rdx], rax",
            "3:",
            "xor ecx, ecx",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor eax, eax",
            "call {syscall}",
            "4:",
            "test rax, rax",
            "jnz 2f",
            "sub rsp, 4096",
            "mov edi, {exit}",
            "mov esi, 23",
            "call {syscall}",
            "2:",
            "mov rsp, r12",
            syscall = sym libc::syscall,
            exit = const libc::SYS_exit,
            in("rdi") libc::SYS_clone,
            in("rsi") flags,
            in("rdx") stack,
            out("r12") _,
            lateout("rax") result,
            clobber_abi("C"),
        );
    }
    result
}

/// As the other one, by `SYS_exit_group`, which is the same to a process of one thread. qemu (7.2)
/// makes a fork of a vfork, and its `exit`, but not its `exit_group`, takes a lock of the
/// emulator's that another thread may have held at the fork: the child waits for ever.
#[cfg(target_arch = "aarch64")]
pub fn clone_and_exit(flags: usize, stack: usize) -> isize {
    let result: isize;
    // SAFETY: as the other one's.
    unsafe {
        asm!(
            "mov x3, xzr",
            "mov x4, xzr",
            "mov x5, xzr",
            "bl {syscall}",
            "cbnz x0, 2f",
            "sub sp, sp, #4096",
            "mov x0, {exit}",
            "mov x1, #23",
            "bl {syscall}",
            "2:",
            syscall = sym libc::syscall,
            exit = const libc::SYS_exit_group,
            inlateout("x0") libc::SYS_clone as usize => result,
            in("x1") flags,
            in("x2") stack,
            clobber_abi("C"),
        );
    }
    result
}
