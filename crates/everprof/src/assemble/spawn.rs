//! The profile of created threads, of this process or of a recording.
//!
//! Context: cold. Invariant: no sample has more threads live than created.

use everprof_core::recording::Recording;
use everprof_core::spawn::{CREATIONS_ARE_SEEN, Snapshot};
use everprof_core::{global, labels, lost, modules};
use everprof_profile::Profile;

use super::as_value;
use super::labels::LabelSets;
use super::modules::Modules;
use super::samples::Samples;

const SPAWN_TYPES: [(&str, &str); 3] = [
    ("threadcreate", "count"),
    ("live", "count"),
    ("cpu", "nanoseconds"),
];

/// Who created this process's threads, by addresses.
pub(crate) fn spawn() -> Profile {
    modules::refresh();
    let snapshot = global::spawn().snapshot();
    let sets = LabelSets::of_this_process();
    let mut profile = assemble(&snapshot, &Modules::of_this_process(), sets);
    if !CREATIONS_ARE_SEEN {
        profile.add_comment(
            "who created threads is not known: the program is linked statically, or everprof \
             was built without its feature `interpose`",
        );
    }
    profile
}

/// Who created threads in another process; none where it recorded nothing.
pub(super) fn of_recording(recording: &Recording, modules: &Modules) -> Option<Profile> {
    let snapshot = recording.spawn()?;
    let sets = LabelSets::of_recording(recording);
    let mut profile = assemble(&snapshot, modules, sets);
    profile.add_comment(
        "of threads that had not ended, the CPU time is missing that they took since the \
         process last took a profile",
    );
    Some(profile)
}

fn assemble(snapshot: &Snapshot<'_>, modules: &Modules, sets: LabelSets<'_>) -> Profile {
    let mut profile = Profile::new(&SPAWN_TYPES);
    profile.set_default_sample_type("threadcreate");
    profile.set_period_type("threadcreate", "count");
    profile.period = 1;
    profile.time_nanos = as_value(snapshot.taken_at_unix_nanos());
    if snapshot.is_torn() {
        profile.add_comment("not whole: a thread was stopped while it was counted");
    }
    let mut samples = Samples::new(profile, modules, sets);
    let mut unseen_ends = 0;
    for bucket in snapshot.iter() {
        let stack = bucket.stack.iter().copied();
        let values = [bucket.created, bucket.live, bucket.cpu_nanos].map(as_value);
        samples.push(stack, [], bucket.labels, &values);
        unseen_ends += bucket.unseen_ends;
    }
    let others = &snapshot.others;
    let main = others.main_cpu_nanos.map(|nanos| (1, nanos));
    let unknown = (others.unknown, others.unknown_cpu_nanos);
    let unknown = (others.unknown > 0).then_some(unknown);
    let named = [(lost::MAIN_THREAD, main), (lost::UNKNOWN_CREATOR, unknown)];
    for (frame, counts) in named {
        if let Some((threads, cpu_nanos)) = counts {
            let values = [threads, threads, cpu_nanos].map(as_value);
            samples.push([frame], [], labels::NONE, &values);
        }
    }
    let mut profile = samples.profile;
    if unseen_ends > 0 {
        profile.add_comment(&format!(
            "the ends of {unseen_ends} threads were found later: the last of their CPU time \
             is missing"
        ));
    }
    profile
}
