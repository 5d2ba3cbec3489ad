//! Stacks: who did it, leaf first.
//!
//! Context: sampled and signal. No allocation, no lock, no panic; less than 2 KiB
//! of stack besides the caller's `out`.
//! Invariant: a walk never faults. Words are read only where the kernel has said
//! that reading is possible (`probe`), tables only inside a loaded module's
//! mapped segment, with every bound checked (`cfi`).
//!
//! ```text
//! Registers::here ─→ walk ─→ memo    did the last walk pass here? its rule
//!                     │    ─→ cache  of rules by address, shared
//!                     │    ─→ lookup ─→ modules (which tables) ─→ cfi (which rule)
//!                     └───→ probe    may this word be read?
//! ```
//!
//! Where the tables say nothing (code made at run time, hand-written assembly), the
//! frame pointer is followed if it holds: aligned, growing, readable. What such a
//! step leads to is not trusted: it may still be walked by tables, but not by
//! those of a module that another thread could be unloading.
//!
//! Source: the idea of keeping the last walk is from incremental stack scanning
//! (P. Cheng, R. Harper, P. Lee, "Generational stack collection", PLDI 1998); here
//! only rules are kept, and the stack is read anew.

use core::sync::atomic::{AtomicU32, Ordering};

mod cache;
pub mod cfi;
mod memo;
mod rules;
#[cfg(not(everprof_loom))]
pub(crate) mod spilled;
mod walk;

#[cfg_attr(
    all(target_os = "linux", target_arch = "x86_64"),
    path = "stack/x86_64.rs"
)]
#[cfg_attr(
    all(target_os = "linux", target_arch = "aarch64"),
    path = "stack/aarch64.rs"
)]
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )),
    path = "stack/noop.rs"
)]
#[cfg_attr(
    miri,
    allow(dead_code, reason = "only the walk's arithmetic is run there")
)]
pub(crate) mod platform;

#[cfg_attr(
    all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(miri)
    ),
    path = "stack/capture.rs"
)]
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(miri)
    )),
    path = "stack/capture_noop.rs"
)]
pub(crate) mod backend;
pub use backend::{ThreadMemory, capture};
#[cfg(not(everprof_loom))]
pub(crate) use backend::{capture_below, path};

/// Where a walk begins.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// Instruction pointer.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Link register; 0 where the architecture has none.
    pub lr: u64,
}

impl Registers {
    /// Those of the function that this is inlined into. It must not have
    /// returned, nor changed its stack pointer, when they are used.
    #[inline(always)]
    #[must_use]
    pub fn here() -> Self {
        if cfg!(miri) {
            // Miri has no registers, and no stack that could be walked.
            let (pc, sp, fp, lr) = (0, 0, 0, 0);
            return Self { pc, sp, fp, lr };
        }
        platform::here()
    }
}

/// What a walk brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Entries written: each one more than an address inside the frame's instruction.
    pub depth: usize,
    /// Why there are no more.
    pub end: StackEnd,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackEnd {
    /// At the thread's first frame: the stack is complete.
    Root,
    /// At the depth limit. The last entry is the lost frame that says so.
    Truncated,
    /// At code that no table covers and whose frame pointer leads nowhere.
    NotCovered,
    /// At a rule of a kind that is not followed, with a frame pointer that leads nowhere.
    Unsupported,
    /// At tables or registers that contradict themselves, or tables that cannot be read.
    Malformed,
    /// At a word that cannot be read.
    Unreadable,
    /// At a frame that is found by a frame pointer which nobody knows: the stack was
    /// read from outside.
    NoFramePointer,
    /// There is no walk on this platform.
    NoWalk,
}

#[cfg_attr(
    not(all(target_os = "linux", not(miri), not(everprof_loom))),
    allow(
        dead_code,
        reason = "nobody hands a stack's end to another thread there"
    )
)]
impl StackEnd {
    const ALL: [Self; 8] = [
        Self::Root,
        Self::Truncated,
        Self::NotCovered,
        Self::Unsupported,
        Self::Malformed,
        Self::Unreadable,
        Self::NoFramePointer,
        Self::NoWalk,
    ];

    /// For an atomic.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }

    /// The one that has this number.
    pub(crate) fn from_number(number: u32) -> Self {
        let index = number as usize;
        Self::ALL.get(index).copied().unwrap_or(Self::NoWalk)
    }
}

/// What ends a stack that was cut at the depth limit.
const TRUNCATED: u64 = crate::lost::Lost::Truncated.pc();

/// Deepest limit that can be set.
pub const MAX_DEPTH: usize = 1024;

/// Frames kept unless [`set_depth_limit`] says otherwise.
pub const DEFAULT_DEPTH: usize = 128;

/// Written by anyone, read by each walk. 0 stands for the default.
static DEPTH_LIMIT: AtomicU32 = AtomicU32::new(0);

/// Sets how many entries a stack has at most, the one that marks a cut included;
/// brought into 1..=[`MAX_DEPTH`].
pub fn set_depth_limit(limit: usize) {
    // Relaxed: a figure of its own; walks under way keep the old one.
    DEPTH_LIMIT.store(limit.clamp(1, MAX_DEPTH) as u32, Ordering::Relaxed);
}

/// How many entries a stack has at most.
#[must_use]
#[inline]
pub fn depth_limit() -> usize {
    // Relaxed: as above.
    match DEPTH_LIMIT.load(Ordering::Relaxed) {
        0 => DEFAULT_DEPTH,
        limit => limit as usize,
    }
}
