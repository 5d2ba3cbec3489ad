//! The one real instance of each recorder. Absent under loom.

use crate::heap::Recorder;
use crate::local;

static HEAP: Recorder = Recorder::new();

/// The heap's recorder.
#[inline(always)]
pub fn heap() -> &'static Recorder {
    &HEAP
}

/// Counts `size_bytes` towards the next sample; true when it is due.
///
/// Context: hot.
#[inline(always)]
pub fn tick(size_bytes: usize) -> bool {
    local::with(|local| {
        let left = local.countdown.get().wrapping_sub(size_bytes as i64);
        local.countdown.set(left);
        left < 0
    })
}
