//! The CPU profile: a session's stacks.
//!
//! Context: cold. Invariant: a sample's nanoseconds are its count times the period.

use everprof_core::cpu::Snapshot;
use everprof_core::modules;
use everprof_profile::Profile;

use super::as_value;
use super::labels::LabelSets;
use super::modules::Modules;
use super::samples::Samples;

const CPU_TYPES: [(&str, &str); 2] = [("samples", "count"), ("cpu", "nanoseconds")];

/// What a session has counted, by addresses.
pub(crate) fn cpu(snapshot: &Snapshot) -> Profile {
    modules::refresh();
    let modules = Modules::of_this_process();
    let mut profile = Profile::new(&CPU_TYPES);
    profile.set_default_sample_type("cpu");
    profile.set_period_type(super::CPU, "nanoseconds");
    profile.period = as_value(snapshot.period_nanos);
    profile.time_nanos = as_value(snapshot.began_unix_nanos);
    profile.duration_nanos = as_value(snapshot.duration_nanos);
    if snapshot.torn {
        profile.add_comment("not whole: a thread was stopped while it was sampled");
    }
    if snapshot.threads_refused != 0 {
        profile.add_comment(&format!(
            "not whole: the system refused timers to {} threads, as there are as many as \
             RLIMIT_SIGPENDING allows (`ulimit -i`)",
            snapshot.threads_refused
        ));
    }
    let mut samples = Samples::new(profile, &modules, LabelSets::of_this_process());
    snapshot.for_each(|bucket| {
        let values = [bucket.samples, bucket.nanos].map(as_value);
        samples.push(bucket.stack.iter().copied(), [], bucket.labels, &values);
    });
    samples.profile
}
