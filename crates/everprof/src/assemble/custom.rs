//! The profile of what a program says that it holds.
//!
//! Context: cold. Invariant: no sample holds more than was ever taken.

use everprof_core::global;
use everprof_core::modules;
use everprof_profile::Profile;

use super::as_value;
use super::labels::LabelSets;
use super::modules::Modules;
use super::samples::Samples;

/// A custom profile now, by addresses: what it is called, and the name and unit of the
/// value of each thing held, if it has any.
pub(crate) fn custom(number: u64, name: &str, value: Option<(&str, &str)>) -> Profile {
    modules::refresh();
    let snapshot = global::custom().snapshot(number);
    let ever = format!("total_{name}");
    let mut types = vec![(name, "count")];
    types.extend(value);
    types.push((&ever, "count"));
    let mut profile = Profile::new(&types);
    profile.set_default_sample_type(name);
    profile.set_period_type(name, "count");
    profile.period = 1;
    profile.time_nanos = as_value(snapshot.taken_at_unix_nanos());
    if snapshot.is_torn() {
        profile.add_comment("not whole: a thread was stopped while it counted");
    }
    let modules = Modules::of_this_process();
    let mut samples = Samples::new(profile, &modules, LabelSets::of_this_process());
    let mut values = Vec::new();
    for bucket in snapshot.iter() {
        values.clear();
        values.push(as_value(bucket.held.0));
        values.extend(value.map(|_| as_value(bucket.held.1)));
        values.push(as_value(bucket.taken.0));
        samples.push(bucket.stack.iter().copied(), [], bucket.labels, &values);
    }
    samples.profile
}
