//! The profile of a managed heap.
//!
//! Context: cold. Invariant: as the heap's.

use everprof_core::managed::Heap;
use everprof_core::modules;
use everprof_profile::{Label, Profile};

use super::as_value;
use super::heap::{DefaultType, begin, values};
use super::labels::LabelSets;
use super::modules::Modules;
use super::samples::Samples;

/// A managed heap as it is shown now, by addresses.
pub(crate) fn managed(heap: &Heap) -> Profile {
    modules::refresh();
    let snapshot = heap.snapshot();
    let mut profile = begin(DefaultType::InUse, snapshot.period_bytes);
    profile.time_nanos = as_value(snapshot.taken_at_unix_nanos);
    if snapshot.torn {
        profile.add_comment("not whole: there was no memory for a copy");
    }
    if !snapshot.completed {
        profile.add_comment("no garbage collection was completed yet: all that was recorded");
    }
    let modules = Modules::of_this_process();
    profile.reserve_samples(snapshot.len());
    let mut samples = Samples::new(profile, &modules, LabelSets::of_this_process());
    for bucket in snapshot.iter() {
        let (type_name, bucket) = (bucket.type_name, bucket.bucket);
        let size = Label::number("bytes", as_value(bucket.size_class_bytes), "bytes");
        let own = [size].into_iter();
        let own = own.chain(type_name.map(|name| Label::string("type", name)));
        let stack = bucket.stack.iter().copied();
        samples.push(stack, own, bucket.labels, &values(&bucket));
    }
    samples.profile
}
