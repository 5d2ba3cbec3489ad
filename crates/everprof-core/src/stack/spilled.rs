//! Spilled: what a thread keeps in registers while it sleeps, written where others can
//! read it.
//!
//! Context: signal. A handful of stores around a call that may sleep.
//! Invariant: between the stores and the end of the call, every value that the callers
//! of this function will use again stands on the thread's stack, at or above the
//! stack pointer that the kernel tells.
//!
//! A function's values live on its stack or in registers that its callees keep. A
//! callee that wants such a register saves it on the stack; one that does not leaves
//! it, and in a thread that sleeps only the kernel has it then, which does not tell.
//! Who holds a lock is looked for in both (`threads::standing`), and so functions of
//! ours in which threads sleep write those registers down first.
//!
//! The record is found from outside by its first word, [`mark`] of its own
//! address, close to the stack pointer. It is taken back after the call, so that what a
//! later function does not overwrite is not taken for its own. A wait that is left by an
//! unwinder or `longjmp` leaves its mark; that such a word stands within
//! [`MOST_BYTES_BELOW`] of another call that sleeps, at the same address, in a part of
//! that function's frame that it has not written, is all that can go wrong.

use core::mem::MaybeUninit;

use super::platform;

/// What is written, word by word.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spilled {
    /// [`mark`] of this word's address.
    mark: u64,
    /// The thread pointer.
    thread: u64,
    /// The registers that a function must keep for its caller.
    registers: [u64; platform::KEPT_REGISTERS],
}

/// Runs `call`, which may sleep, with the registers spilled.
///
/// What this is inlined into has a frame of a few hundred bytes if it is optimised, and
/// may have thousands if it is not: then it is a function of its own, close to its call.
#[cfg_attr(not(debug_assertions), inline(always))]
#[cfg_attr(debug_assertions, inline(never))]
pub(crate) fn around<R>(call: impl FnOnce() -> R) -> R {
    around_at(|_| call())
}

/// As [`around`], and tells `call` where the record is: above it stands all that the callers
/// have, and below it what `call` has.
#[cfg_attr(not(debug_assertions), inline(always))]
#[cfg_attr(debug_assertions, inline(never))]
pub(crate) fn around_at<R>(call: impl FnOnce(u64) -> R) -> R {
    let mut spilled = MaybeUninit::<Spilled>::uninit();
    let at = spilled.as_mut_ptr().cast::<u64>();
    // SAFETY: `at` has room for a `Spilled`, whose layout is that of the words that
    // this writes (asserted below), and outlives the call.
    unsafe { platform::spill(at, MARK) };
    let result = call(at.addr() as u64);
    // SAFETY: as above; writes the first word.
    unsafe { platform::take_back(at) };
    result
}

/// What the record at `address` begins with.
#[cfg_attr(
    not(all(target_os = "linux", not(miri), not(everprof_loom))),
    allow(dead_code, reason = "nobody looks for it there")
)]
pub(crate) fn mark(address: u64) -> u64 {
    address ^ MARK
}

/// A number of no meaning: no address differs from another one by it.
const MARK: u64 = 0xb5a1_7d3c_6e94_f20b;

/// How far above the stack pointer of a thread that sleeps in a call of ours its record
/// may begin: frames of ours and of the C library have 100 to 600 bytes. A signal frame
/// has more than this (1,080 at least on x86_64, 4,500 on aarch64), so that a record
/// beneath a handler is never taken for the handler's.
#[cfg_attr(
    not(all(target_os = "linux", not(miri), not(everprof_loom))),
    allow(dead_code, reason = "nobody looks for it there")
)]
pub(crate) const MOST_BYTES_BELOW: u64 = 1024;

const _: () = assert!(size_of::<Spilled>() == (2 + platform::KEPT_REGISTERS) * 8);
