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

use std::collections::HashMap;

use super::look::Looker;
use crate::global;
use crate::stack::Captured;
use crate::threads::RecordedWait;
use crate::waits::{Blocked, UnderWay};

/// The waits under way when a collection began, by thread.
#[derive(Debug)]
pub(super) struct Recorded {
    waits: HashMap<u32, UnderWay<'static>>,
}

impl Recorded {
    /// As they are now. Of several of one thread the latest, which a signal handler is in.
    pub(super) fn now() -> Self {
        let mut waits: HashMap<u32, UnderWay<'_>> = HashMap::new();
        global::waits().for_each_under_way(|wait| {
            let since_nanos = |wait: &UnderWay<'_>| wait.blocked().since_nanos;
            match waits.get(&wait.blocked().tid) {
                Some(known) if since_nanos(known) >= since_nanos(&wait) => {}
                _ => _ = waits.insert(wait.blocked().tid, wait),
            }
        });
        Self { waits }
    }

    /// The wait that `thread` is in; its stack is at the front of `out`. `None`: in none that
    /// is recorded, or it does not stand still, or there is more to its stack.
    pub(super) fn stack_of(
        &self,
        thread: u32,
        looker: &mut Looker,
        out: &mut [u64],
    ) -> Option<(RecordedWait, Captured)> {
        let wait = self.waits.get(&thread)?;
        let &Blocked {
            operation,
            address,
            since_nanos,
            labels,
            registers,
            ..
        } = wait.blocked();
        let captured = looker.walk_still(thread, &registers, out, || wait.goes_on())?;
        let wait = RecordedWait {
            since_nanos,
            operation,
            address,
            labels,
        };
        Some((wait, captured))
    }
}
