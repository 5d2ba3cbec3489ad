//! Samples: a profile under way, which buckets are added to one after the other.
//!
//! Context: cold. Invariant: a sample has its bucket's stack, call by call, and the labels of its
//! set; where that is lost, a frame that says so.
//!
//! For profiles that need no names while they are made. Where names decide what a sample is,
//! [`super::named`] comes first; the heap's own, which has the most samples, keeps label sets as
//! well.

use everprof_profile::{Label, LocationId, Profile};

use super::labels::LabelSets;
use super::modules::Modules;
use super::places::Places;

/// See the module head.
pub(super) struct Samples<'a> {
    pub(super) profile: Profile,
    places: Places<'a>,
    sets: LabelSets<'a>,
    /// These two are one sample's, and kept for their memory.
    stack: Vec<LocationId>,
    labels: Vec<Label<'a>>,
}

impl<'a> Samples<'a> {
    /// Of a profile without any.
    pub(super) fn new(mut profile: Profile, modules: &'a Modules, sets: LabelSets<'a>) -> Self {
        let mut places = Places::new(modules);
        places.add_program(&mut profile);
        Self {
            profile,
            places,
            sets,
            stack: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Adds a sample: a stack as it was recorded, labels of the sample's own, and behind them those
    /// of the set.
    pub(super) fn push(
        &mut self,
        stack: impl IntoIterator<Item = u64>,
        own: impl IntoIterator<Item = Label<'a>>,
        set: u32,
        values: &[i64],
    ) {
        let (places, profile) = (&mut self.places, &mut self.profile);
        self.stack.clear();
        let calls = stack.into_iter().map(|pc| places.of_return(profile, pc));
        self.stack.extend(calls);
        self.labels.clear();
        self.labels.extend(own);
        self.sets
            .add(set, &mut self.labels, &mut self.stack, places, profile);
        profile.push_sample(&self.stack, values, &self.labels);
    }
}
