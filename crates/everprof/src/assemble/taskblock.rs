//! The profile of what tasks waited, of this process or of a recording.
//!
//! Context: cold. Invariant: as [`super::waits`].

use everprof_core::recording::Recording;
use everprof_core::tasks::{self, BlockSnapshot, How};
use everprof_core::{lost, modules};
use everprof_profile::{Label, Profile};

use super::as_value;
use super::labels::LabelSets;
use super::modules::Modules;
use super::samples::Samples;

const TYPES: [(&str, &str); 4] = [
    ("contentions", "count"),
    ("delay", "nanoseconds"),
    ("schedule_delay", "nanoseconds"),
    ("poll", "nanoseconds"),
];

/// This process's, by addresses.
pub(crate) fn taskblock() -> Profile {
    modules::refresh();
    let snapshot = tasks::block();
    let sets = LabelSets::of_this_process();
    assemble(&snapshot, &Modules::of_this_process(), sets)
}

/// Another process's; none where it recorded none.
pub(super) fn of_recording(recording: &Recording, modules: &Modules) -> Option<Profile> {
    let snapshot = recording.taskblock()?;
    let sets = LabelSets::of_recording(recording);
    Some(assemble(&snapshot, modules, sets))
}

fn assemble(snapshot: &BlockSnapshot<'_>, modules: &Modules, sets: LabelSets<'_>) -> Profile {
    let mut profile = Profile::new(&TYPES);
    profile.set_default_sample_type("delay");
    profile.set_period_type("contentions", "count");
    profile.set_drop_frames(super::tasks::WAKER_FRAMES);
    profile.period = 1;
    profile.time_nanos = as_value(snapshot.taken_at_unix_nanos());
    if snapshot.is_torn() {
        profile.add_comment("not whole: a thread was stopped while it counted a wait");
    }
    let mut samples = Samples::new(profile, modules, sets);
    for bucket in snapshot.iter() {
        // Before its first await a task has no await stack, only the one that made it.
        let made = (bucket.how == Some(How::Makes)).then_some(lost::TASK_MADE);
        let stack = made.into_iter().chain(bucket.stack.iter().copied());
        let is_yield = bucket.how == Some(How::WakesItself);
        let own = is_yield.then(|| Label::string(super::waits::WAIT, "yield"));
        let times = &bucket.times;
        let values = [
            times.waits.contentions.round() as i64,
            as_value(times.waits.delay_nanos),
            as_value(times.ready_nanos),
            as_value(times.polled_nanos),
        ];
        samples.push(stack, own, bucket.labels, &values);
    }
    samples.profile
}
