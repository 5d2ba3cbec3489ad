//! Profiles of waits, of this process or of a recording: who waited, who made
//! them wait, and what for.
//!
//! Context: cold. Invariant: what a wait was for is told by the waiter's frames; what
//! no name tells is `other`, and is not taken for a lock's.
//!
//! The recorders know addresses only. So names come first here: the stacks of who
//! waited are named as far as the profile is to be, and their names decide the label
//! `wait`, which waits are those of idle workers, and which wakes were unlocks.

use everprof_core::global;
use everprof_core::recording::Recording;
use everprof_core::waits::{BlockSnapshot, MutexBucket, MutexSnapshot, Operation, Tally};
use everprof_profile::wait_kind::{WaitKind, parks_on_own_word};
use everprof_profile::{Filter, LOCK_FRAMES, Label, LocationId, Profile};

use super::as_value;
use super::modules::Modules;
use super::named::Named;
use super::places::Places;
use crate::profile::{Ask, Names};

const TYPES: [(&str, &str); 2] = [("contentions", "count"), ("delay", "nanoseconds")];

/// The label that says what was waited for.
const WAIT: &str = "wait";

/// This process's waits now, by who waited.
pub(crate) fn block(ask: &Ask<'_>) -> Profile {
    everprof_core::modules::refresh();
    let snapshot = global::waits().block();
    of_block(&snapshot, &Modules::of_this_process(), ask.names, ask.idle)
}

/// This process's waits now, by who ended them.
pub(crate) fn mutex(ask: &Ask<'_>) -> Profile {
    everprof_core::modules::refresh();
    let snapshot = global::waits().mutex();
    of_mutex(&snapshot, &Modules::of_this_process(), ask.names)
}

/// Another process's waits; none where it recorded none.
pub(super) fn of_recording(
    recording: &Recording,
    modules: &Modules,
) -> Vec<(&'static str, Profile)> {
    let block = recording.block();
    let mutex = recording.mutex();
    let block = block.map(|snapshot| of_block(&snapshot, modules, Names::Table, false));
    let mutex = mutex.map(|snapshot| of_mutex(&snapshot, modules, Names::Table));
    [("block", block), ("mutex", mutex)]
        .into_iter()
        .filter_map(|(name, profile)| Some((name, profile?)))
        .collect()
}

/// The waits of each stack, without names and without those of idle workers: what
/// `block::records` gives.
pub(crate) fn block_records(mut visit: impl FnMut(&[u64], &Tally)) {
    everprof_core::modules::refresh();
    let snapshot = global::waits().block();
    let modules = Modules::of_this_process();
    let buckets: Vec<_> = snapshot.iter().collect();
    let mut named = Named::new(&TYPES, &modules, Names::Table);
    let stacks: Vec<_> = buckets.iter().map(|b| named.stack(b.stack)).collect();
    named.finish();
    for (bucket, stack) in buckets.iter().zip(stacks) {
        if named.kind(&stack, known(bucket.operation)) != WaitKind::Idle {
            visit(bucket.stack, &bucket.waits);
        }
    }
}

/// The waits that each stack ended by unlocking: what `mutex::records` gives.
pub(crate) fn mutex_records(mut visit: impl FnMut(&[u64], &Tally)) {
    everprof_core::modules::refresh();
    let snapshot = global::waits().mutex();
    let modules = Modules::of_this_process();
    let buckets: Vec<_> = snapshot.iter().collect();
    let mut named = Named::new(&TYPES, &modules, Names::Table);
    let sites: Vec<_> = buckets.iter().map(|b| named.stack(b.site)).collect();
    named.finish();
    for (bucket, site) in buckets.iter().zip(sites) {
        let kind = named.kind(&site, known(bucket.operation));
        if is_of_unlock(kind, bucket.site) {
            visit(bucket.stack, charge(&named, &site, bucket));
        }
    }
}

fn of_block(snapshot: &BlockSnapshot, modules: &Modules, names: Names, idle: bool) -> Profile {
    let buckets: Vec<_> = snapshot.iter().collect();
    let mut named = Named::new(&TYPES, modules, names);
    let stacks: Vec<_> = buckets.iter().map(|b| named.stack(b.stack)).collect();
    named.finish();
    let mut profile = Assembly::new(named, snapshot.taken_at_unix_nanos(), snapshot.is_torn());
    for (bucket, stack) in buckets.iter().zip(stacks) {
        let kind = profile.named.kind(&stack, known(bucket.operation));
        if kind != WaitKind::Idle || idle {
            profile.push(bucket.stack, &bucket.waits, kind);
        }
    }
    profile.finish()
}

fn of_mutex(snapshot: &MutexSnapshot, modules: &Modules, names: Names) -> Profile {
    let buckets: Vec<_> = snapshot.iter().collect();
    let mut named = Named::new(&TYPES, modules, names);
    let sites: Vec<_> = buckets.iter().map(|b| named.stack(b.site)).collect();
    named.finish();
    let mut profile = Assembly::new(named, snapshot.taken_at_unix_nanos(), snapshot.is_torn());
    for (bucket, site) in buckets.iter().zip(sites) {
        let kind = profile.named.kind(&site, known(bucket.operation));
        if is_of_unlock(kind, bucket.site) {
            let charge = *charge(&profile.named, &site, bucket);
            profile.push(bucket.stack, &charge, kind);
        }
    }
    profile.finish()
}

/// Whether a wake was an unlock: by what was waited for. What could not be attributed
/// has no site, and is shown as the loss that it is.
fn is_of_unlock(kind: WaitKind, site: &[u64]) -> bool {
    kind.is_lock() || site.is_empty()
}

/// What the call itself says.
fn known(operation: Option<Operation>) -> WaitKind {
    match operation {
        Some(Operation::Lock) => WaitKind::Mutex,
        Some(Operation::Condition) => WaitKind::Condvar,
        Some(Operation::Join) => WaitKind::Join,
        Some(Operation::Sleep) => WaitKind::Sleep,
        Some(Operation::Io) => WaitKind::Io,
        _ => WaitKind::Other,
    }
}

/// Which of the two figures is right for the lock of this site.
fn charge<'t>(named: &Named<'_>, site: &[LocationId], bucket: &'t MutexBucket<'_>) -> &'t Tally {
    if named.functions(site).any(parks_on_own_word) {
        &bucket.chain
    } else {
        &bucket.waits
    }
}

/// The profile under way.
struct Assembly<'a> {
    named: Named<'a>,
    /// With the names of `named`, or anew without any.
    profile: Profile,
    places: Places<'a>,
}

impl<'a> Assembly<'a> {
    fn new(named: Named<'a>, taken_at_unix_nanos: u64, is_torn: bool) -> Self {
        let (mut profile, places) = named.begin(&TYPES);
        profile.set_default_sample_type("delay");
        profile.set_period_type("contentions", "count");
        profile.period = 1;
        profile.time_nanos = as_value(taken_at_unix_nanos);
        profile.set_drop_frames(LOCK_FRAMES);
        if is_torn {
            profile.add_comment(
                "not whole: a thread was stopped while it recorded, so that its last wait may \
                 be counted in part, or there was no memory for a copy",
            );
        }
        Self {
            named,
            profile,
            places,
        }
    }

    fn push(&mut self, stack: &[u64], waits: &Tally, kind: WaitKind) {
        let stack: Vec<_> = stack
            .iter()
            .map(|pc| self.places.of_return(&mut self.profile, *pc))
            .collect();
        let values = [
            waits.contentions.round() as i64,
            as_value(waits.delay_nanos),
        ];
        let label = Label::string(WAIT, kind.name());
        self.profile.push_sample(&stack, &values, &[label]);
    }

    /// Without the locations of stacks that were named and then left out.
    fn finish(self) -> Profile {
        self.profile.filter(&Filter::new())
    }
}
