//! The heap's profile, of this process or of a recording.
//!
//! Context: cold. Invariant: every sample has all four values, and never more
//! freed than allocated.

use std::collections::HashMap;

use everprof_core::global;
use everprof_core::heap::{Bucket, Snapshot, Tally};
use everprof_core::modules;
use everprof_core::recording::Recording;
use everprof_profile::{ALLOCATOR_FRAMES, Label, Profile};

use super::as_value;
use super::labels::LabelSets;
use super::modules::Modules;
use super::places::Places;
use crate::profile::Ask;

const HEAP_TYPES: [(&str, &str); 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

/// What tells `heap` and `allocs` apart: all else in them is the same.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DefaultType {
    InUse,
    Allocated,
}

impl DefaultType {
    fn name(self) -> &'static str {
        match self {
            Self::InUse => "inuse_space",
            Self::Allocated => "alloc_space",
        }
    }
}

/// This process's heap now, by addresses.
pub(crate) fn heap(default: DefaultType, ask: &Ask<'_>) -> Profile {
    modules::refresh();
    let snapshot = match ask.older_than {
        Some(age) => {
            global::heap().snapshot_older_than(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))
        }
        None => global::heap().snapshot(),
    };
    let sets = LabelSets::of_this_process();
    assemble(&snapshot, &Modules::of_this_process(), &sets, default)
}

/// The heap of another process; none where it recorded no heap.
pub(super) fn of_recording(recording: &Recording, modules: &Modules) -> Option<Profile> {
    let snapshot = recording.heap()?;
    let sets = LabelSets::of_recording(recording);
    Some(assemble(&snapshot, modules, &sets, DefaultType::InUse))
}

/// The profile `allocs`, of the same samples as this one of `heap`.
pub(super) fn as_allocs(heap: &Profile) -> Profile {
    let mut allocs = heap.clone();
    allocs.set_default_sample_type(DefaultType::Allocated.name());
    allocs
}

/// A heap's profile without samples.
pub(super) fn begin(default: DefaultType, period_bytes: u64) -> Profile {
    let mut profile = Profile::new(&HEAP_TYPES);
    profile.set_default_sample_type(default.name());
    profile.set_period_type("space", "bytes");
    profile.period = as_value(period_bytes);
    profile.set_drop_frames(ALLOCATOR_FRAMES);
    profile
}

fn assemble(
    snapshot: &Snapshot,
    modules: &Modules,
    sets: &LabelSets<'_>,
    default: DefaultType,
) -> Profile {
    let period_bytes = snapshot.recorded_period_bytes();
    let mut profile = begin(default, period_bytes);
    if period_bytes > snapshot.period_bytes {
        profile.add_comment(&format!(
            "sampled once in {period_bytes} bytes on the average, not in {}: memory for the \
             records ran short (memory_limit), or the period was changed; error bars allow for it",
            snapshot.period_bytes
        ));
    }
    profile.time_nanos = as_value(snapshot.taken_at_unix_nanos());
    if snapshot.is_torn() {
        profile.add_comment(
            "not whole: a thread was stopped while it recorded, so that its last sample may be \
             counted in part, or there was no memory for a copy",
        );
    }
    let mut places = Places::new(modules);
    places.add_program(&mut profile);
    profile.reserve_samples(snapshot.len());
    let (mut stack, mut labels) = (Vec::new(), Vec::new());
    let mut of_size_alone = HashMap::new();
    for bucket in snapshot.iter() {
        stack.clear();
        stack.extend(places.of_stack(&mut profile, bucket.stack));
        let size = Label::number("bytes", as_value(bucket.size_class_bytes), "bytes");
        let set = bucket.labels;
        // Most samples have no more labels, and many have the same size.
        let labels = if set == 0 {
            let id = of_size_alone.entry(bucket.size_class_bytes);
            *id.or_insert_with(|| profile.add_label_set(&[size]))
        } else {
            labels.clear();
            labels.push(size);
            sets.add(set, &mut labels, &mut stack, &mut places, &mut profile);
            profile.add_label_set(&labels)
        };
        let stack = profile.add_stack(stack.iter().copied());
        profile.push_sample_of(stack, &values(&bucket), labels);
    }
    profile
}

pub(super) fn values(Bucket { alloc, freed, .. }: &Bucket<'_>) -> [i64; 4] {
    let objects = |tally: &Tally| tally.objects.round() as i64;
    [
        objects(alloc),
        as_value(alloc.bytes),
        objects(alloc).saturating_sub(objects(freed)).max(0),
        as_value(alloc.bytes.saturating_sub(freed.bytes)),
    ]
}
