//! Results: what was found in a trace, as profiles that every other report reads.
//!
//! Context: cold.
//! Invariant: a profile's totals are the findings'.

use super::findings::{Findings, Site};
use super::format::Table;
use super::places::Places;
use super::tables::Tables;
use crate::trim::ALLOCATOR_FRAMES;
use crate::{Error, Label, Profile};

/// What a profile of a trace tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum View {
    /// All that was allocated, and what was in use at the end: the sample types of a heap
    /// profile, of which every object is in it.
    Heap,
    /// In use when most bytes were: `inuse_objects` and `inuse_space`.
    Peak,
    /// Freed before the thread's next allocation: `temporary_objects` and
    /// `temporary_space`.
    Temporaries,
    /// How long objects lived that have ended: `ended_objects`, and `lifetime` in
    /// nanoseconds, all together.
    Lifetimes,
    /// `reallocations`, `moves`, and `copied_space` in bytes, at most.
    Reallocations,
}

impl View {
    /// Kinds and units of the values, and which of them reports show.
    fn sample_types(self) -> (&'static [(&'static str, &'static str)], &'static str) {
        match self {
            View::Heap => (
                &[
                    ("alloc_objects", "count"),
                    ("alloc_space", "bytes"),
                    ("inuse_objects", "count"),
                    ("inuse_space", "bytes"),
                ],
                "inuse_space",
            ),
            View::Peak => (
                &[("inuse_objects", "count"), ("inuse_space", "bytes")],
                "inuse_space",
            ),
            View::Temporaries => (
                &[("temporary_objects", "count"), ("temporary_space", "bytes")],
                "temporary_objects",
            ),
            View::Lifetimes => (
                &[("ended_objects", "count"), ("lifetime", "nanoseconds")],
                "ended_objects",
            ),
            View::Reallocations => (
                &[
                    ("reallocations", "count"),
                    ("moves", "count"),
                    ("copied_space", "bytes"),
                ],
                "copied_space",
            ),
        }
    }

    /// A site's values.
    fn values(self, site: &Site, tables: &Tables) -> Vec<i64> {
        let values = match self {
            View::Heap => vec![
                site.allocated.objects,
                site.allocated.bytes,
                site.in_use.objects,
                site.in_use.bytes,
            ],
            View::Peak => vec![site.at_peak.objects, site.at_peak.bytes],
            View::Temporaries => vec![site.temporary.objects, site.temporary.bytes],
            View::Lifetimes => {
                let lived = site.lifetimes.total();
                vec![
                    site.lifetimes.count(),
                    tables.program().nanos_between(0, lived),
                ]
            }
            View::Reallocations => vec![site.reallocations, site.moved, site.copied_bytes],
        };
        let clamped = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        values.into_iter().map(clamped).collect()
    }
}

impl Findings {
    /// A profile of what was found, its addresses without names. Sites that have nothing
    /// of it are left out.
    ///
    /// # Errors
    ///
    /// [`Error::is_limit`] when its stacks are a bomb.
    pub fn profile(&self, tables: &Tables, view: View) -> Result<Profile, Error> {
        let (types, default) = view.sample_types();
        let mut profile = Profile::new(types);
        profile.set_default_sample_type(default);
        profile.set_period_type("space", "bytes");
        profile.period = 1;
        profile.set_drop_frames(ALLOCATOR_FRAMES);
        let program = tables.program();
        let at = match view {
            View::Peak => self.peak_nanos,
            _ => self.until_nanos,
        };
        let at = program.start_unix_nanos.saturating_add(at);
        profile.time_nanos = i64::try_from(at).unwrap_or(i64::MAX);
        if view != View::Peak {
            let lasted = self.until_nanos.saturating_sub(self.from_nanos);
            profile.duration_nanos = i64::try_from(lasted).unwrap_or(i64::MAX);
        }
        let mut places = Places::new(tables, &mut profile);
        for site in &self.sites {
            let values = view.values(site, tables);
            if values.iter().all(|&value| value == 0) {
                continue;
            }
            let stack = places.stack(&mut profile, site.stack)?;
            let of_type = tables.name(Table::Types, site.type_id).unwrap_or_default();
            let labels = profile.add_label_set(&[Label::string("type", of_type)]);
            profile.push_sample_of(stack, &values, labels);
        }
        Ok(profile)
    }
}
