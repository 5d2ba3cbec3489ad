//! Scratch: where a stack is captured on its way to its bucket.
//!
//! Context: sampled. Invariant: the scratch is on nobody's stack but the capture's and
//! that of whoever takes it from there, and a stack is never empty.

use crate::arena::Offset;
use crate::ledger::Ledger;
use crate::lost::Lost;
use crate::stack::{self, MAX_DEPTH};
use crate::table::Key;

/// The bucket of the stack that `capture` writes, whose depth it returns.
pub(crate) fn bucket_of(
    ledger: &Ledger<'_>,
    extra: u64,
    labels: u32,
    capture: impl FnOnce(&mut [u64]) -> usize,
) -> Option<Offset> {
    captured(capture, |stack| {
        ledger.bucket(&Key {
            stack,
            extra,
            labels,
        })
    })
}

/// Gives `take` what `capture` has written and counted: a stack, or the loss that
/// stands for one.
pub(crate) fn captured<T>(
    capture: impl FnOnce(&mut [u64]) -> usize,
    take: impl FnOnce(&[u64]) -> T,
) -> T {
    if stack::depth_limit() <= SHALLOW {
        captured_within::<SHALLOW, T>(capture, take)
    } else {
        captured_within::<MAX_DEPTH, T>(capture, take)
    }
}

/// Apart from its caller, so that the scratch is on the stack of nothing that follows.
#[inline(never)]
fn captured_within<const DEPTH: usize, T>(
    capture: impl FnOnce(&mut [u64]) -> usize,
    take: impl FnOnce(&[u64]) -> T,
) -> T {
    let mut scratch = [0; DEPTH];
    let depth = capture(&mut scratch);
    take(or_no_stack(scratch.get(..depth)))
}

/// The stack, or the loss that says that there is none.
pub(crate) fn or_no_stack(stack: Option<&[u64]>) -> &[u64] {
    const NO_STACK: [u64; 1] = [Lost::NoStack.pc()];
    match stack {
        Some(stack) if !stack.is_empty() => stack,
        _ => &NO_STACK,
    }
}

/// Depth up to which the scratch is 1 KiB of the thread's stack; beyond it is 8 KiB,
/// which only those pay who raise the limit.
const SHALLOW: usize = stack::DEFAULT_DEPTH;
