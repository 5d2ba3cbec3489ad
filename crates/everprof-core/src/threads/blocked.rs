//! Threads that wait in an operation which is recorded: the kernel need not be asked where.
//!
//! Context: cold. Invariant: a stack is told only of a thread that had no processor from
//! before its slot was seen to hold the wait until after its last word was read.
//!
//! The recorder's slot has the registers of the frame that waits, so that neither the
//! `syscall` file is read nor a frame pointer guessed, and that frame is ours: where the C
//! library's own code has no tables (musl's), none of it has to be walked. What lies
//! above that frame stands still for as long as the slot holds the wait.
//!
//! A wait that was left by `longjmp` or by unwinding holds its slot until its thread waits
//! again (`waits::slots`). If what is at its frame by then still looks like a stack, and the
//! thread sleeps in something that is not recorded, it is told to be in the wait that it left.

use super::look::Looker;
use crate::global;
use crate::stack::Captured;
use crate::threads::RecordedWait;
use crate::waits::{Blocked, Latest, UnderWay};

/// The waits under way when a collection began.
#[derive(Debug)]
pub(super) struct Recorded {
    waits: Latest<UnderWay<'static>>,
}

impl Recorded {
    /// As they are now.
    pub(super) fn now() -> Self {
        Self {
            waits: global::waits().under_way(),
        }
    }

    /// The wait that `thread` is in, and the processor time that it has taken; its stack is at the
    /// front of `out`. `None`: in none that is recorded, or it does not stand still, or there
    /// is more to its stack.
    pub(super) fn stack_of(
        &self,
        thread: u32,
        looker: &mut Looker,
        out: &mut [u64],
    ) -> Option<(RecordedWait, Captured, u64)> {
        let wait = self.waits.get(thread)?;
        let blocked: &Blocked = wait.as_ref();
        let (captured, cpu_nanos) =
            looker.walk_still(thread, &blocked.registers, out, || wait.goes_on())?;
        Some((blocked.into(), captured, cpu_nanos))
    }
}
