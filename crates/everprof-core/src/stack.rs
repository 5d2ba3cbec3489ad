//! Stacks: who did it, leaf first.

/// Where a walk begins.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// Instruction pointer.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
}

impl Registers {
    /// The registers of the caller. The walk they begin is valid while the
    /// caller has not returned.
    #[inline(always)]
    #[must_use]
    pub fn here() -> Self {
        Self { pc: 0, sp: 0, fp: 0 }
    }
}
