//! Which tasks are alike, and so are one sample.
//!
//! Context: cold. Invariant: tasks of one group wait at the same places, were made at the same
//! place, do the same and bear the same labels.

use everprof_core::tasks::{Kind, Seen, State};

/// What makes tasks one sample.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Group<'l> {
    pub(super) leaves: &'l [u32],
    pub(super) made_by: u32,
    pub(super) set: u32,
    pub(super) kind: *const Kind,
    pub(super) state: &'static str,
    pub(super) leak: &'static str,
    /// Of one that is told by itself; 0: of others like it.
    pub(super) id: u64,
}

/// The tasks met last, with the numbers of their groups. Most of 100,000 tasks are like one of a
/// few, and to compare two takes less time than to look a group up.
pub(super) struct Recent<'l>([Option<(&'l Seen, usize)>; RECENT]);

const RECENT: usize = 64;

impl Default for Recent<'_> {
    fn default() -> Self {
        Self([None; RECENT])
    }
}

impl<'l> Recent<'l> {
    /// The place of a task that stands like this one. Another may have it.
    pub(super) fn of(&mut self, task: &Seen) -> &mut Option<(&'l Seen, usize)> {
        let leaf = task.leaves().first().copied().unwrap_or(0);
        let mixed = (leaf ^ task.made_by.rotate_left(16)).wrapping_mul(0x9e37_79b1);
        &mut self.0[mixed as usize >> (u32::BITS - RECENT.ilog2())]
    }
}

/// Whether two tasks wait in the same places and were made in the same.
pub(super) fn stand_alike(one: &Seen, other: &Seen) -> bool {
    one.made_by == other.made_by && one.leaves() == other.leaves()
}

/// Whether two tasks are one sample, unless each is asked for.
pub(super) fn are_alike(one: &Seen, other: &Seen) -> bool {
    let is_in_one_state = match (one.state, other.state) {
        (State::Woken { by_itself: a, .. }, State::Woken { by_itself: b, .. }) => a == b,
        (a, b) => std::mem::discriminant(&a) == std::mem::discriminant(&b),
    };
    is_in_one_state
        && stand_alike(one, other)
        && one.labels == other.labels
        && one.leak == other.leak
        && std::ptr::eq(one.kind, other.kind)
}
