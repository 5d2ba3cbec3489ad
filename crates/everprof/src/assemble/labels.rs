//! The labels that were in force, as those of a profile's samples.
//!
//! Context: cold. Invariant: a sample has all the labels of its set or, where that
//! set is lost, none and a frame that says so.

use everprof_core::global;
use everprof_core::labels::sets::Sets;
use everprof_core::labels::{LOST, sets_of};
use everprof_core::lost::Lost;
use everprof_core::recording::Recording;
use everprof_profile::{Label, LocationId, Profile};

use super::places::Places;

/// The label sets that one snapshot's buckets name.
pub(super) struct LabelSets<'a>(Option<Sets<'a>>);

impl LabelSets<'static> {
    pub(super) fn of_this_process() -> Self {
        Self(sets_of(global::store()))
    }
}

impl<'a> LabelSets<'a> {
    pub(super) fn of_recording(recording: &'a Recording) -> Self {
        Self(recording.label_sets())
    }

    /// Adds the set's pairs to a sample's labels. A set that is lost adds the frame
    /// that says so at the outer end of the sample's stack.
    pub(super) fn add(
        &self,
        set: u32,
        labels: &mut Vec<Label<'a>>,
        stack: &mut Vec<LocationId>,
        places: &mut Places<'_>,
        profile: &mut Profile,
    ) {
        if set == LOST {
            stack.push(places.of_return(profile, Lost::Labels.pc()));
            return;
        }
        let pairs = self.0.and_then(|sets| sets.pairs(set));
        labels.extend(
            pairs
                .into_iter()
                .flatten()
                .map(|(key, value)| Label::string(key, value)),
        );
    }
}
