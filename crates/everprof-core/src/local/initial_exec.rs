//! Thread state in initial-exec TLS, for a library that is preloaded.
//!
//! Rust's `thread_local!` in a shared library calls `__tls_get_addr`: some
//! 2.5 ns, and, for a thread's first touch in a library that came late, an
//! allocation within the allocator. A preloaded library is there when the
//! loader lays out static TLS, so a fixed distance from the thread pointer
//! will do: two instructions, no call. Stable Rust cannot ask for that model;
//! the assembler can.
//!
//! Context: hot. Twin of `native.rs`.
//! Invariant: the block is `size_of::<Local>()` zero bytes in each thread's
//! `.tbss`, and all bits zero is a valid `Local` (see the parent's head).

use std::mem::{align_of, size_of};

use super::Local;

std::arch::global_asm!(
    ".pushsection .tbss.everprof_local,\"awT\",@nobits",
    ".globl everprof_local",
    // Reached from every crate that inlines `with`, and by nobody outside the library.
    ".hidden everprof_local",
    ".type everprof_local,@object",
    ".size everprof_local,{size}",
    ".balign {align}",
    "everprof_local:",
    ".zero {size}",
    ".popsection",
    size = const size_of::<Local>(),
    align = const align_of::<Local>(),
);

/// Runs `f` with this thread's state.
#[inline(always)]
pub fn with<R>(f: impl FnOnce(&Local) -> R) -> R {
    // SAFETY: `here` points to this thread's block, which lives until the
    // thread's last instruction; `Local` has interior mutability only, and no
    // other thread is given the pointer.
    f(unsafe { &*here() })
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn here() -> *const Local {
    let block;
    // SAFETY: reads the distance from the loader's table and the thread
    // pointer, both constant for a thread; no memory of Rust's, no stack.
    unsafe {
        std::arch::asm!(
            "mov {block}, qword ptr [rip + everprof_local@GOTTPOFF]",
            "add {block}, qword ptr fs:[0]",
            block = out(reg) block,
            options(pure, nomem, nostack),
        );
    }
    block
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn here() -> *const Local {
    let block;
    // SAFETY: reads the distance from the loader's table and the thread
    // pointer, both constant for a thread; no memory of Rust's, no stack.
    unsafe {
        std::arch::asm!(
            "adrp {block}, :gottprel:everprof_local",
            "ldr {block}, [{block}, :gottprel_lo12:everprof_local]",
            "mrs {pointer}, tpidr_el0",
            "add {block}, {block}, {pointer}",
            block = out(reg) block,
            pointer = out(reg) _,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_a_block_of_its_own_that_begins_as_zero() {
        with(|local| {
            local.countdown.set(7);
            assert_eq!(std::ptr::from_ref(local) as usize % align_of::<Local>(), 0);
        });
        let other = std::thread::spawn(|| {
            with(|local| {
                assert_eq!(local.countdown.get(), 0);
                local.countdown.set(9);
                std::ptr::from_ref(local) as usize
            })
        });
        let other = other.join().expect("no panic");
        with(|local| {
            assert_eq!(local.countdown.get(), 7);
            assert_ne!(std::ptr::from_ref(local) as usize, other);
        });
    }
}
