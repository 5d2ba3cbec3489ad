//! Scratch: where a stack is captured on its way to its bucket.
//!
//! Context: sampled. Invariant: the scratch is on nobody's stack but the capture's.

use crate::arena::Offset;
use crate::ledger::Ledger;
use crate::lost::Lost;
use crate::stack::{self, MAX_DEPTH};
use crate::table::Key;

/// Depth up to which a capture's scratch is 1 KiB of stack, as in the heap's recorder.
const SHALLOW: usize = stack::DEFAULT_DEPTH;

pub(super) fn bucket_of(
    ledger: &Ledger<'_>,
    extra: u64,
    labels: u32,
    capture: &mut impl FnMut(&mut [u64]) -> usize,
) -> Option<Offset> {
    if stack::depth_limit() <= SHALLOW {
        bucket_within::<SHALLOW>(ledger, extra, labels, capture)
    } else {
        bucket_within::<MAX_DEPTH>(ledger, extra, labels, capture)
    }
}

/// Apart from its caller, so that the scratch is on the stack of nothing else.
#[inline(never)]
fn bucket_within<const DEPTH: usize>(
    ledger: &Ledger<'_>,
    extra: u64,
    labels: u32,
    capture: &mut impl FnMut(&mut [u64]) -> usize,
) -> Option<Offset> {
    let mut scratch = [0; DEPTH];
    let depth = capture(&mut scratch);
    ledger.bucket(&Key {
        stack: or_no_stack(scratch.get(..depth)),
        extra,
        labels,
    })
}

pub(super) fn or_no_stack(stack: Option<&[u64]>) -> &[u64] {
    const NO_STACK: [u64; 1] = [Lost::NoStack.pc()];
    match stack {
        Some(stack) if !stack.is_empty() => stack,
        _ => &NO_STACK,
    }
}
