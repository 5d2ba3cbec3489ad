//! Diff: what grew between two profiles, and whether that is more than chance.
//!
//! Context: cold.
//! Invariant: the growth of all sites adds up to the growth of the total. A site that one
//! of the profiles does not have counts as zero there.
//!
//! A site is a function with what stands on it itself (`flat`), or, when asked for, with
//! what stands on all that it called (`cum`), or a whole stack.

use std::collections::HashMap;

use super::{Selection, top};
use crate::Error;
use crate::errorbars::Estimate;

/// The sites of two selections, largest growth first.
#[derive(Clone, Debug)]
pub struct Diff {
    /// Those that were asked for.
    pub rows: Vec<Row>,
    /// How many sites that changed were left out, and their growth together.
    pub left_out: (usize, i64),
    /// Both totals, and their difference.
    pub total: Change,
    /// Whether variances of both are known; if not, no verdict means anything.
    pub has_error_bars: bool,
    /// How many sites were compared, which the verdicts allow for.
    pub comparisons: usize,
}

/// A site.
#[derive(Clone, Debug)]
pub struct Row {
    /// The functions of the site: one, or those of a stack, root first.
    pub site: Vec<String>,
    /// What became of it.
    pub change: Change,
}

/// Before and after.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// In the earlier profile.
    pub before: Estimate,
    /// In the later one.
    pub after: Estimate,
    /// Later minus earlier.
    pub growth: Estimate,
    /// Whether the growth is more than chance.
    pub is_significant: bool,
}

/// What the figures of a site are taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Site {
    /// A function, itself.
    #[default]
    Flat,
    /// A function and all that it called.
    Cum,
    /// A whole stack.
    Stack,
}

/// What grew from `before` to `after`: the `limit` sites that changed most.
///
/// # Errors
///
/// If the two are of different sample types.
pub fn diff(
    before: &Selection,
    after: &Selection,
    site: Site,
    limit: usize,
) -> Result<Diff, Error> {
    if (&before.kind, &before.unit) != (&after.kind, &after.unit) {
        return Err(Error::mismatch(format!(
            "cannot compare `{}` in {} with `{}` in {}: expected profiles of one kind",
            before.kind, before.unit, after.kind, after.unit
        )));
    }
    let mut sites: HashMap<Vec<&str>, Change> = HashMap::new();
    for_each_site(before, site, |names, estimate| {
        sites.entry(names).or_default().before.add(estimate);
    });
    for_each_site(after, site, |names, estimate| {
        sites.entry(names).or_default().after.add(estimate);
    });
    let comparisons = sites.len();
    let mut rows: Vec<Row> = sites
        .into_iter()
        .map(|(names, change)| Row {
            site: names.into_iter().map(str::to_owned).collect(),
            change: change.judged(comparisons),
        })
        .filter(|row| row.change.growth.value != 0)
        .collect();
    rows.sort_by(|a, b| {
        let size = |row: &Row| row.change.growth.value.unsigned_abs();
        size(b).cmp(&size(a)).then_with(|| a.site.cmp(&b.site))
    });
    let total = Change {
        before: before.total,
        after: after.total,
        ..Change::default()
    };
    let mut diff = Diff {
        rows,
        left_out: (0, 0),
        total: total.judged(1),
        has_error_bars: before.has_error_bars && after.has_error_bars,
        comparisons,
    };
    diff.limit(limit);
    Ok(diff)
}

impl Diff {
    /// Leaves out all but the `limit` sites that changed most.
    pub fn limit(&mut self, limit: usize) {
        let mut n = 0..;
        self.retain(|_| n.next().is_some_and(|n| n < limit));
    }

    /// Leaves out the sites that `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&Change) -> bool) {
        let left_out = &mut self.left_out;
        self.rows.retain(|row| {
            let is_kept = keep(&row.change);
            if !is_kept {
                left_out.0 += 1;
                left_out.1 = left_out.1.saturating_add(row.change.growth.value);
            }
            is_kept
        });
    }
}

impl Change {
    fn judged(mut self, comparisons: usize) -> Change {
        self.growth = self.before.growth_to(&self.after);
        self.is_significant = self.growth.is_significant(comparisons);
        self
    }
}

fn for_each_site<'a>(
    selection: &'a Selection,
    site: Site,
    mut each: impl FnMut(Vec<&'a str>, &Estimate),
) {
    let name = |function: u32| selection.function(function).name.as_str();
    if site == Site::Stack {
        for (frames, estimate) in selection.stacks() {
            let names = frames.iter().map(|frame| name(frame.function)).collect();
            each(names, estimate);
        }
        return;
    }
    for row in top::functions(selection) {
        let estimate = match site {
            Site::Flat => row.flat,
            _ => row.cum,
        };
        // Functions on which nothing stands were not sampled at: they are no comparison.
        if estimate != Estimate::default() {
            each(vec![name(row.function)], &estimate);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::testdata;
    use crate::{Label, Profile};

    /// One function a site, of so many objects of 1 KiB each.
    fn heap(period: i64, sites: &[(&str, i64)]) -> Selection {
        let mut profile = Profile::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")]);
        profile.set_period_type("space", "bytes");
        profile.period = period;
        for (n, &(name, objects)) in sites.iter().enumerate() {
            let at = profile.add_named(n as u64 + 1, None, [(name, "", 0)]);
            let label = Label::number("bytes", 1024, "bytes");
            profile.push_sample(&[at], &[objects, objects * 1024], &[label]);
        }
        Selection::of(&profile, None).unwrap()
    }

    #[test]
    fn growth_far_beyond_the_bar_is_significant_and_chance_is_not() {
        let before = heap(512 << 10, &[("leak", 10_000), ("steady", 10_000)]);
        let after = heap(512 << 10, &[("leak", 60_000), ("steady", 11_000)]);
        let diff = diff(&before, &after, Site::Flat, 10).unwrap();
        assert!(diff.has_error_bars);
        assert_eq!(diff.rows[0].site, ["leak"]);
        assert_eq!(diff.rows[0].change.growth.value, 50_000 * 1024);
        assert!(diff.rows[0].change.is_significant);
        assert!(!diff.rows[1].change.is_significant);
        assert!(diff.total.is_significant);
    }

    #[test]
    fn counted_profiles_make_every_change_significant() {
        let diff = diff(
            &heap(1, &[("a", 5), ("same", 9), ("gone", 1)]),
            &heap(1, &[("a", 6), ("same", 9), ("new", 1)]),
            Site::Flat,
            10,
        )
        .unwrap();
        let shown: Vec<(&str, i64, bool)> = diff
            .rows
            .iter()
            .map(|row| {
                let change = &row.change;
                (
                    row.site[0].as_str(),
                    change.growth.value / 1024,
                    change.is_significant,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [("a", 1, true), ("gone", -1, true), ("new", 1, true)]
        );
        assert_eq!(diff.total.growth.value, 1024);
    }

    #[test]
    fn growth_of_the_sites_adds_up_whatever_the_limit() {
        let before = heap(1, &[("a", 5), ("b", 9)]);
        let after = heap(1, &[("a", 50), ("b", 2), ("c", 1)]);
        for limit in 0..4 {
            let diff = diff(&before, &after, Site::Flat, limit).unwrap();
            let shown: i64 = diff.rows.iter().map(|row| row.change.growth.value).sum();
            assert_eq!(shown + diff.left_out.1, diff.total.growth.value);
            assert_eq!(diff.rows.len() + diff.left_out.0, 3);
        }
    }

    #[test]
    fn stacks_are_sites_of_their_own() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        let none = heap(512 << 10, &[]);
        let diff = diff(&none, &selection, Site::Stack, 1).unwrap();
        assert_eq!(
            diff.rows[0].site,
            ["app::main", "app::parse", "alloc::raw_vec::grow"]
        );
    }

    #[test]
    fn profiles_of_two_kinds_are_refused() {
        let profile = testdata::heap();
        let [space, objects] =
            [None, Some("inuse_objects")].map(|kind| Selection::of(&profile, kind).unwrap());
        let error = diff(&space, &objects, Site::Flat, 1).unwrap_err();
        assert!(error.to_string().contains("`inuse_objects` in count"));
    }
}
