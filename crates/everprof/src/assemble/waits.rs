//! Profiles of waits, of this process or of a recording: who waited, who made
//! them wait, and what for.
//!
//! Context: cold. Invariant: what a wait was for is told by the waiter's frames; what
//! no name tells is `other`, and is not taken for a lock's.
//!
//! What was measured of a delay and what was extrapolated are samples of their own, which
//! is what error bars are computed from (`everprof_profile::errorbars`).
//!
//! The recorders know addresses only. So names come first here: the stacks of who
//! waited are named as far as the profile is to be. Their names decide what the label
//! `wait` says, which waits are an idle worker's, and which wakes were unlocks.

use everprof_core::global;
use everprof_core::recording::Recording;
use everprof_core::waits::{BlockSnapshot, MutexBucket, MutexSnapshot, Operation, Tally};
use everprof_profile::errorbars::PERIOD_LABEL;
use everprof_profile::report::units;
use everprof_profile::wait_kind::{WaitKind, parks_on_own_word};
use everprof_profile::{Filter, LOCK_FRAMES, Label, LocationId, Profile};

use super::as_value;
use super::labels::LabelSets;
use super::modules::Modules;
use super::named::Named;
use super::places::Places;
use crate::profile::{Ask, Names};

const TYPES: [(&str, &str); 2] = [("contentions", "count"), ("delay", "nanoseconds")];

/// The label that says what was waited for.
pub(super) const WAIT: &str = "wait";

/// This process's waits now, by who waited.
pub(crate) fn block(ask: &Ask<'_>) -> Profile {
    everprof_core::modules::refresh();
    let snapshot = global::waits().block();
    let (modules, sets) = (Modules::of_this_process(), LabelSets::of_this_process());
    of_block(&snapshot, &modules, sets, ask.names, ask.idle)
}

/// This process's waits now, by who ended them.
pub(crate) fn mutex(ask: &Ask<'_>) -> Profile {
    everprof_core::modules::refresh();
    let snapshot = global::waits().mutex();
    let (modules, sets) = (Modules::of_this_process(), LabelSets::of_this_process());
    of_mutex(&snapshot, &modules, sets, ask.names)
}

/// Another process's waits; none where it recorded none.
pub(super) fn of_recording(
    recording: &Recording,
    modules: &Modules,
) -> Vec<(&'static str, Profile)> {
    let block = recording.block();
    let mutex = recording.mutex();
    let sets = || LabelSets::of_recording(recording);
    let block = block.map(|snapshot| of_block(&snapshot, modules, sets(), Names::Table, false));
    let mutex = mutex.map(|snapshot| of_mutex(&snapshot, modules, sets(), Names::Table));
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
        if !named.kind(&stack, known(bucket.operation)).is_idle() {
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

fn of_block(
    snapshot: &BlockSnapshot,
    modules: &Modules,
    sets: LabelSets<'_>,
    names: Names,
    idle: bool,
) -> Profile {
    let buckets: Vec<_> = snapshot.iter().collect();
    let mut named = Named::new(&TYPES, modules, names);
    let stacks: Vec<_> = buckets.iter().map(|b| named.stack(b.stack)).collect();
    named.finish();
    let (taken, is_torn) = (snapshot.taken_at_unix_nanos(), snapshot.is_torn());
    let mut profile = Assembly::new(named, sets, taken, is_torn);
    profile.period_nanos = Some(snapshot.period_nanos);
    let mut is_nameless = false;
    for (bucket, stack) in buckets.iter().zip(stacks) {
        let kind = profile.named.kind(&stack, known(bucket.operation));
        if !kind.is_idle() || idle {
            is_nameless |= kind == WaitKind::Other && profile.named.is_nameless(&stack);
            profile.push(bucket.stack, bucket.labels, &bucket.waits, kind);
        }
    }
    if is_nameless {
        profile.profile.add_comment(
            "the program's functions have no names (it was stripped, or its file cannot be read): \
             none tells what it waited for, nor which of its workers had nothing to do",
        );
    }
    profile.finish()
}

fn of_mutex(
    snapshot: &MutexSnapshot,
    modules: &Modules,
    sets: LabelSets<'_>,
    names: Names,
) -> Profile {
    let buckets: Vec<_> = snapshot.iter().collect();
    let mut named = Named::new(&TYPES, modules, names);
    let sites: Vec<_> = buckets.iter().map(|b| named.stack(b.site)).collect();
    named.finish();
    let (taken, is_torn) = (snapshot.taken_at_unix_nanos(), snapshot.is_torn());
    let mut profile = Assembly::new(named, sets, taken, is_torn);
    profile.period_nanos = (snapshot.fraction == 0).then_some(snapshot.period_nanos);
    let mut nameless_nanos = 0;
    for (bucket, site) in buckets.iter().zip(sites) {
        let kind = profile.named.kind(&site, known(bucket.operation));
        if is_of_unlock(kind, bucket.site) {
            let charge = *charge(&profile.named, &site, bucket);
            profile.push(bucket.stack, bucket.labels, &charge, kind);
        } else if profile.named.is_nameless(&site) {
            nameless_nanos += bucket.waits.delay_nanos;
        }
    }
    if nameless_nanos > 0 {
        profile.profile.add_comment(&format!(
            "not whole: the program's functions have no names (it was stripped, or its file \
             cannot be read), so that none tells locks from what else others waited for; {} of \
             waits are left out",
            units::format(as_value(nameless_nanos), "nanoseconds")
        ));
    }
    profile.finish()
}

/// Whether a wake was an unlock: by what was waited for. What could not be attributed
/// has no site, and is shown as the loss that it is.
fn is_of_unlock(kind: WaitKind, site: &[u64]) -> bool {
    kind.is_lock() || site.is_empty()
}

/// What the call itself says.
pub(super) fn known(operation: Option<Operation>) -> WaitKind {
    match operation {
        Some(Operation::Lock) => WaitKind::Mutex,
        Some(Operation::Rwlock) => WaitKind::RwLock,
        Some(Operation::Condition) => WaitKind::Condvar,
        Some(Operation::Join) => WaitKind::Join,
        Some(Operation::Sleep) => WaitKind::Sleep,
        Some(Operation::Io) => WaitKind::Io,
        Some(Operation::Yield) => WaitKind::Yield,
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
    sets: LabelSets<'a>,
    /// What the delays were sampled with; none where something else decided.
    period_nanos: Option<u64>,
}

impl<'a> Assembly<'a> {
    fn new(named: Named<'a>, sets: LabelSets<'a>, taken_at_unix_nanos: u64, is_torn: bool) -> Self {
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
            period_nanos: None,
            sets,
        }
    }

    fn push(&mut self, stack: &[u64], set: u32, waits: &Tally, kind: WaitKind) {
        let (places, profile) = (&mut self.places, &mut self.profile);
        let mut stack: Vec<_> = places.of_stack(profile, stack).collect();
        let mut labels = vec![Label::string(WAIT, kind.name())];
        self.sets.add(set, &mut labels, &mut stack, places, profile);
        let parts = Parts::of(waits, self.period_nanos);
        for (values, period) in [parts.measured, parts.extrapolated] {
            if values == [0; 2] {
                continue;
            }
            let period =
                period.map(|nanos| Label::number(PERIOD_LABEL, as_value(nanos), "nanoseconds"));
            let known = labels.len();
            labels.extend(period);
            profile.push_sample(&stack, &values, &labels);
            labels.truncate(known);
        }
    }

    /// Without the locations of stacks that were named and then left out.
    fn finish(self) -> Profile {
        self.profile.filter(&Filter::new())
    }
}

/// Contentions and delay of a stack, each with the period of its label, if it has one.
struct Parts {
    measured: ([i64; 2], Option<u64>),
    extrapolated: ([i64; 2], Option<u64>),
}

impl Parts {
    /// The variance of the delay is the period times what was extrapolated of it.
    fn of(waits: &Tally, period_nanos: Option<u64>) -> Self {
        let contentions = waits.contentions.round() as i64;
        let delay = as_value(waits.delay_nanos);
        // Below a microsecond the variance is too coarse a number, but that all is exact.
        let period = period_nanos.filter(|nanos| *nanos == 1 || *nanos >= 1_000);
        let Some(nanos) = period else {
            return Self {
                measured: ([contentions, delay], None),
                extrapolated: ([0; 2], None),
            };
        };
        let extrapolated = (waits.delay_variance_nanos2 / nanos as f64).round() as i64;
        let extrapolated = extrapolated.clamp(0, delay);
        let more = match extrapolated {
            0 => 0,
            _ => contentions.saturating_sub(as_value(waits.samples)).max(0),
        };
        Self {
            measured: ([contentions - more, delay - extrapolated], Some(1)),
            extrapolated: ([more, extrapolated], Some(nanos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: u64 = 1_000_000;

    fn tally(waits: &[u64]) -> Tally {
        let mut sum = Tally::default();
        for &nanos in waits {
            let weight = (PERIOD as f64 / nanos as f64).max(1.0);
            sum.samples += 1;
            sum.contentions += weight;
            sum.delay_nanos += nanos.max(PERIOD);
            sum.contentions_variance += weight * (weight - 1.0);
            sum.delay_variance_nanos2 += (nanos as f64).powi(2) * weight * (weight - 1.0);
        }
        sum
    }

    #[test]
    fn what_was_measured_is_the_sum_of_what_was_recorded() {
        let parts = Parts::of(&tally(&[250_000, 500_000, 7_000_000]), Some(PERIOD));
        assert_eq!(parts.measured, ([3, 7_750_000], Some(1)));
        assert_eq!(parts.extrapolated, ([4, 1_250_000], Some(PERIOD)));
    }

    #[test]
    fn long_waits_are_measured_all() {
        let parts = Parts::of(&tally(&[PERIOD, 9_000_000]), Some(PERIOD));
        assert_eq!(parts.measured, ([2, 10_000_000], Some(1)));
        assert_eq!(parts.extrapolated.0, [0, 0]);
    }

    #[test]
    fn where_something_else_decided_nothing_is_said_of_it() {
        let waits = tally(&[250_000]);
        for period in [None, Some(0), Some(999)] {
            let parts = Parts::of(&waits, period);
            assert_eq!(parts.measured, ([4, 1_000_000], None));
            assert_eq!(parts.extrapolated.0, [0, 0]);
        }
    }
}
