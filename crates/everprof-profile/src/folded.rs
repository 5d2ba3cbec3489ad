//! Folded stacks: one line a stack, root first, as flame-graph tools read them.
//!
//! Context: cold.
//! Invariant: the figures add up to the total of the sample type.
//! Source: `main;app::run;app::fill 4096`, of Brendan Gregg's FlameGraph.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use crate::{Error, Location, Profile};

/// Writes each stack with one of its values, that of sample type number `value`; equal
/// stacks are added up, in the order of their text. Stacks whose value is 0 are left out.
///
/// Frames stand root first with a `;` between them, so a `;` in a name becomes `:`.
/// Addresses without a name are written as file and offset. Values may be negative in a
/// delta, which many readers do not take.
///
/// # Errors
///
/// Those of the writer.
///
/// # Panics
///
/// If there are not that many sample types.
pub fn write(profile: &Profile, value: usize, out: impl Write) -> Result<(), Error> {
    assert!(
        value < profile.sample_types().len(),
        "the profile has no sample type {value}"
    );
    let frames: Vec<String> = profile
        .locations()
        .map(|(_, location)| fold(profile, &location))
        .collect();
    let mut stacks = BTreeMap::<String, i64>::new();
    let mut ids = Vec::new();
    for sample in profile.samples() {
        ids.clear();
        ids.extend(sample.stack());
        let names: Vec<_> = ids
            .iter()
            .rev()
            .map(|at| frames[at.index()].as_str())
            .collect();
        let sum = stacks.entry(names.join(";")).or_default();
        *sum = sum.saturating_add(sample.values()[value]);
    }
    let mut out = BufWriter::new(out);
    for (stack, sum) in stacks.iter().filter(|&(_, &sum)| sum != 0) {
        writeln!(out, "{stack} {sum}")?;
    }
    out.flush()?;
    Ok(())
}

/// The frames of a location, outermost first.
fn fold(profile: &Profile, location: &Location<'_>) -> String {
    let clean = |name: &str| name.replace(';', ":").replace(char::is_control, "\u{fffd}");
    if !location.lines.is_empty() {
        let names = location.lines.iter().rev();
        let names: Vec<_> = names
            .map(|line| clean(profile.function(line.function).name))
            .collect();
        return names.join(";");
    }
    match location.mapping.map(|id| profile.mapping(id)) {
        Some(mapping) if !mapping.file.is_empty() => {
            let file = mapping.file.rsplit('/').next().unwrap_or_default();
            let offset = location
                .address
                .wrapping_sub(mapping.start)
                .wrapping_add(mapping.offset);
            format!("{}+{offset:#x}", clean(file))
        }
        _ => format!("{:#x}", location.address),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Mapping;

    #[test]
    fn stacks_are_root_first_with_inlines_and_added_up() {
        let mut profile = Profile::new(&[("objects", "count"), ("space", "bytes")]);
        let mapping = profile.add_mapping(Mapping {
            start: 0x1000,
            offset: 0x100,
            file: "/lib/libz.so",
            ..Mapping::default()
        });
        let mut at = |address, names: &[&str]| {
            let frames = names.iter().map(|name| (*name, "", 0));
            profile.add_named(address, Some(mapping), frames)
        };
        let main = at(1, &["main"]);
        let inlined = at(2, &["f::<[u8; 4]>", "g"]);
        let same = at(3, &["f::<[u8; 4]>", "g"]);
        let bare = at(0x1234, &[]);
        let nowhere = profile.add_location(0x99, None);
        profile.push_sample(&[inlined, main], &[1, 10], &[]);
        profile.push_sample(&[bare, main], &[1, 5], &[]);
        profile.push_sample(&[same, main], &[1, 20], &[]);
        profile.push_sample(&[nowhere], &[1, -3], &[]);
        profile.push_sample(&[main], &[1, 0], &[]);
        let mut out = Vec::new();
        write(&profile, 1, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "0x99 -3\nmain;g;f::<[u8: 4]> 30\nmain;libz.so+0x334 5\n"
        );
    }
}
