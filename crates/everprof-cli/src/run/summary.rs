//! What stands where, in a few lines at the end of a run.

use std::path::Path;

use everprof_profile::Profile;
use everprof_profile::report::Selection;
use everprof_profile::report::top::{Order, top};

use super::inbox::Arena;
use super::whose::Whose;
use crate::commands::top::text;
use crate::output::note;

/// Functions in each table: enough to see where to look, and no screenful.
const ROWS: usize = 5;

/// The profiles that have a table, in this order.
const TOLD: [&str; 4] = ["heap", "allocs", "block", "mutex"];

/// What people notice.
const LEAST_DELAY_NANOS: i64 = 50_000_000;

/// Names are cut here: standard error may be no terminal that knows its width.
const COLUMNS: usize = 100;

/// Tells whose profiles are where, and what is in them.
pub(crate) fn tell(
    directory: &Path,
    arena: &Arena,
    profiles: &[(&'static str, Profile)],
    (children, whose): (usize, Whose),
) {
    let shown = directory.display();
    if arena.earlier_images > 0 {
        let last = arena.executable.display();
        note(&format!(
            "the program replaced itself by `{last}`, whose profile this is"
        ));
    }
    let told = TOLD
        .iter()
        .filter_map(|told| profiles.iter().find(|(name, _)| name == told));
    for (name, profile) in told.filter(|(_, profile)| is_worth_telling(profile)) {
        let path = format!("{shown}/{name}.pb.gz");
        // A profile that reports refuse is written all the same.
        if let Ok(selection) = Selection::of(profile, None) {
            note(&largest(&path, &selection));
        }
    }
    // Most programs have given back all that they had when they end.
    let more = match profiles.iter().find(|(name, _)| *name == "heap") {
        Some((_, heap)) if is_empty(heap) => "allocs",
        _ => "heap",
    };
    note(&format!("for more: everprof top {shown}/{more}.pb.gz"));
    match (children, whose) {
        (0, Whose::Tests) => note("it ran no test binary"),
        (0, _) => {}
        (_, Whose::Tests) => note(&format!(
            "{children} test binaries that it ran are in {shown}/NAME-HASH"
        )),
        _ => note(&format!(
            "{children} processes that it started are in {shown}/PID"
        )),
    }
}

/// Whether there is nothing of what the profile shows unless told otherwise.
fn is_empty(profile: &Profile) -> bool {
    let shown = profile.default_sample_type_index();
    shown.is_none_or(|shown| profile.totals()[shown] == 0)
}

/// Whether there is more in a profile than every program has: a program that starts waits
/// for its threads and its loader, too.
fn is_worth_telling(profile: &Profile) -> bool {
    match profile.sample_type_index("delay") {
        Some(delay) => profile.totals()[delay] >= LEAST_DELAY_NANOS,
        None => true,
    }
}

/// The largest functions of a profile.
fn largest(path: &str, selection: &Selection) -> String {
    let mut top = top(selection, Order::Flat, ROWS);
    // Callers of what is shown; `everprof tree` is better at that.
    top.rows.retain(|row| row.flat.value != 0);
    top.left_out = (0, 0);
    text(path, selection, &top, Order::Flat, Some(COLUMNS))
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use everprof_profile::{Function, Line};

    #[test]
    fn waits_that_nobody_notices_are_not_told() {
        let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
        profile.push_sample(&[], &[900, LEAST_DELAY_NANOS - 1], &[]);
        assert!(!is_worth_telling(&profile));
        profile.push_sample(&[], &[1, 1], &[]);
        assert!(is_worth_telling(&profile));
        assert!(is_worth_telling(&Profile::new(&[("inuse_space", "bytes")])));
    }

    #[test]
    fn callers_without_a_share_of_their_own_are_left_out() {
        let mut profile = Profile::new(&[("inuse_space", "bytes")]);
        let mut stack = Vec::new();
        for (address, name) in [(1, "parse"), (2, "main")] {
            let function = profile.add_function(Function {
                name,
                ..Function::default()
            });
            let location = profile.add_location(address, None);
            profile.set_lines(
                location,
                &[Line {
                    function,
                    line: 0,
                    column: 0,
                }],
            );
            stack.push(location);
        }
        profile.push_sample(&stack, &[2 << 20], &[]);
        let selection = Selection::of(&profile, None).unwrap();
        let text = largest("out/heap.pb.gz", &selection);
        assert!(
            text.contains("out/heap.pb.gz") && text.contains("inuse_space"),
            "{text}"
        );
        assert!(text.contains("parse") && !text.contains("main"), "{text}");
    }
}
