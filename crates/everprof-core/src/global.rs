//! The one real store, and the recorders that write to it. Absent under loom.
//!
//! Context: hot (`heap`, `tick`); cold otherwise.
//! Invariant: the only static with the state of recorders. What all recorders share
//! (rules, memos, modules) is facts about code and stands where it is used.

use crate::heap::Recorder;
use crate::store::Store;
use crate::{local, modules, sampler};

static STORE: Store = Store::new();

/// What all recorders of this process write to.
#[inline(always)]
pub fn store() -> &'static Store {
    &STORE
}

/// The heap's recorder.
#[inline(always)]
pub fn heap() -> Recorder<'static> {
    Recorder::of(&STORE)
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

/// What may only be done outside of the allocator: learns which modules are
/// loaded. To be called once before `main`; sampling works without it, too.
pub fn on_start() {
    modules::refresh();
}

/// Leaves this thread out of all profiles, or takes it in again. Returns whether
/// it was left out before.
pub fn exclude_this_thread(excluded: bool) -> bool {
    let before = local::with(|local| local.excluded.replace(excluded));
    if before != excluded {
        look_again();
    }
    before
}

/// Makes this thread look at the sampler, and so at the period in force, at its
/// next allocation. Unbiased: no gap has a memory, so that the one under way may
/// be forgotten.
pub fn look_again() {
    local::with(sampler::restart);
}
