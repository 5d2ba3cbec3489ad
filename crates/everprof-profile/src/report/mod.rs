//! Reports: what a profile says of one sample type, by function, by tree, by neighbours, and
//! against another profile.
//!
//! Context: cold.
//! Invariant: every report of a [`Selection`] adds up to its total; what a report leaves out
//! it counts.
//! Source: the reports of github.com/google/pprof, whose words and columns people know.
//!
//! ```text
//! Profile ── Selection::of ──→ frames by name, root first, one Estimate a stack
//!                 ├── top::top      functions, flat and cum
//!                 ├── tree::tree    the call tree, with cut-offs
//!                 ├── peek::peek    callers and callees of a function
//!                 └── diff::diff    growth a site, against an earlier Selection
//! ```
//!
//! Functions are told apart by their names alone: so do those of a binary with and without
//! debug information meet, and those of two builds of a program.

pub mod diff;
pub(crate) mod own;
pub mod peek;
pub mod top;
pub mod tree;
pub mod units;

pub use own::is_standard;

use std::collections::HashMap;

use regex_lite::Regex;

use crate::errorbars::{Estimate, Sampling};
use crate::{Error, Line, Location, Profile, StackId};

/// One sample type of a profile, ready to be reported: stacks of named frames.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The sample type's kind, such as `inuse_space`.
    pub kind: String,
    /// Its unit, such as `bytes`.
    pub unit: String,
    /// Whether variances are known; if not, those of the estimates mean nothing.
    pub has_error_bars: bool,
    /// Mean distance between samples, 0 if not known, with its unit.
    pub period: (i64, String),
    /// When the profile was taken, in nanoseconds since 1970; 0 if not known.
    pub time_nanos: i64,
    /// The time that the profile covers, in nanoseconds; 0 if it covers everything.
    pub duration_nanos: i64,
    /// The sum over all stacks.
    pub total: Estimate,
    functions: Vec<FunctionName>,
    /// Frames of all stacks end to end, root first.
    frames: Vec<Frame>,
    stacks: Vec<SelectedStack>,
}

/// A function as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionName {
    /// Name, or where it stands if it has none: `app+0x1234`, by the offset in the file.
    pub name: String,
    /// Source file; empty if not known.
    pub file: String,
    /// Line on which it starts; 0 if not known.
    pub start_line: i64,
}

/// A frame of a selected stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Index for [`Selection::function`].
    pub function: u32,
    /// Line of the function's file; 0 if not known.
    pub line: u32,
}

#[derive(Clone, Debug)]
struct SelectedStack {
    start: usize,
    end: usize,
    estimate: Estimate,
}

impl Selection {
    /// The samples of sample type `kind`, or of the profile's default.
    ///
    /// Frames that the profile's `drop_frames` names are left out, with all that they
    /// called, if something of the program's own called them.
    ///
    /// # Errors
    ///
    /// If there is no such sample type, or the profile's patterns are no regular
    /// expressions.
    pub fn of(profile: &Profile, kind: Option<&str>) -> Result<Selection, Error> {
        let index = value_index(profile, kind)?;
        let value_type = profile
            .sample_types()
            .nth(index)
            .expect("value_index returns one of them");
        let sampling = Sampling::of(profile, index);
        let unit_of_period = profile.period_type().map_or("", |period| period.unit);
        let mut selection = Selection {
            kind: value_type.kind.to_owned(),
            unit: value_type.unit.to_owned(),
            has_error_bars: sampling.is_some(),
            period: (profile.period, unit_of_period.to_owned()),
            time_nanos: profile.time_nanos,
            duration_nanos: profile.duration_nanos,
            total: Estimate::default(),
            functions: Vec::new(),
            frames: Vec::new(),
            stacks: Vec::new(),
        };
        let mut namer = Namer::new(profile)?;
        let mut known: HashMap<StackId, usize> = HashMap::new();
        for sample in profile.samples() {
            let estimate = match &sampling {
                Some(sampling) => sampling.estimate(&sample),
                None => Estimate::exact(sample.values()[index]),
            };
            if estimate.value == 0 && estimate.variance == 0.0 {
                continue;
            }
            selection.total.add(&estimate);
            let number = *known.entry(sample.stack_id()).or_insert_with(|| {
                let start = selection.frames.len();
                namer.push_frames(&sample, &mut selection.frames);
                selection.stacks.push(SelectedStack {
                    start,
                    end: selection.frames.len(),
                    estimate: Estimate::default(),
                });
                selection.stacks.len() - 1
            });
            selection.stacks[number].estimate.add(&estimate);
        }
        selection.functions = namer.functions;
        Ok(selection)
    }

    /// Each stack, root first, with what stands on it.
    pub fn stacks(&self) -> impl ExactSizeIterator<Item = (&[Frame], &Estimate)> {
        self.stacks
            .iter()
            .map(|stack| (&self.frames[stack.start..stack.end], &stack.estimate))
    }

    /// The function of a frame.
    pub fn function(&self, number: u32) -> &FunctionName {
        &self.functions[number as usize]
    }

    /// How many functions there are.
    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// `value` as a share of the total; 0 when the total is 0.
    pub fn share(&self, value: i64) -> f64 {
        match self.total.value {
            0 => 0.0,
            total => value as f64 / (total as f64).abs(),
        }
    }
}

/// Which of a sample's values is of this kind, or the default one.
fn value_index(profile: &Profile, kind: Option<&str>) -> Result<usize, Error> {
    let found = match kind {
        Some(kind) => profile.sample_type_index(kind),
        None => profile.default_sample_type_index(),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = profile.sample_types().map(|known| known.kind).collect();
        Error::mismatch(match kind {
            _ if known.is_empty() => "the profile has no sample types".to_owned(),
            kind => format!(
                "sample type `{}`: expected one of {}",
                kind.unwrap_or_default(),
                known.join(", ")
            ),
        })
    })
}

/// Turns the locations of a profile into frames.
struct Namer<'a> {
    profile: &'a Profile,
    functions: Vec<FunctionName>,
    by_name: HashMap<String, u32>,
    /// Of each location: where its frames stand in `frames`, outermost first, once made.
    ranges: Vec<Option<(usize, usize)>>,
    frames: Vec<(Frame, bool)>,
    drop: Option<Regex>,
    keep: Option<Regex>,
}

impl<'a> Namer<'a> {
    fn new(profile: &'a Profile) -> Result<Namer<'a>, Error> {
        Ok(Namer {
            profile,
            functions: Vec::new(),
            by_name: HashMap::new(),
            ranges: vec![None; profile.locations().len()],
            frames: Vec::new(),
            drop: whole_name(profile.drop_frames(), "drop_frames")?,
            keep: whole_name(profile.keep_frames(), "keep_frames")?,
        })
    }

    /// Appends the frames of a sample's stack, root first.
    fn push_frames(&mut self, sample: &crate::Sample<'_>, out: &mut Vec<Frame>) {
        let mut locations: Vec<_> = sample.stack().collect();
        locations.reverse();
        let mut is_beneath_user_code = false;
        for id in locations {
            let (start, end) = self.location(id);
            for &(frame, is_plumbing) in &self.frames[start..end] {
                if !is_plumbing {
                    is_beneath_user_code = true;
                } else if is_beneath_user_code {
                    return;
                }
                out.push(frame);
            }
        }
    }

    fn location(&mut self, id: crate::LocationId) -> (usize, usize) {
        if let Some(range) = self.ranges[id.index()] {
            return range;
        }
        let location = self.profile.location(id);
        let start = self.frames.len();
        if location.lines.is_empty() {
            let name = nameless(self.profile, &location);
            let frame = self.frame(&name, "", 0, 0);
            self.frames.push((frame, false));
        }
        for line in location.lines.iter().rev() {
            self.push_line(line, &location);
        }
        let range = (start, self.frames.len());
        self.ranges[id.index()] = Some(range);
        range
    }

    fn push_line(&mut self, line: &Line, location: &Location<'_>) {
        let function = self.profile.function(line.function);
        let name = match (function.name, function.system_name) {
            ("", "") => nameless(self.profile, location),
            ("", system_name) => system_name.to_owned(),
            (name, _) => name.to_owned(),
        };
        let matches = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|p| p.is_match(&name));
        let is_plumbing = matches(&self.drop) && !matches(&self.keep);
        let frame = self.frame(&name, function.file, function.start_line, line.line);
        self.frames.push((frame, is_plumbing));
    }

    fn frame(&mut self, name: &str, file: &str, start_line: i64, line: i64) -> Frame {
        let number = match self.by_name.get(name) {
            Some(&number) => number,
            None => {
                let number = u32::try_from(self.functions.len())
                    .expect("a profile has fewer than 2^32 functions");
                self.by_name.insert(name.to_owned(), number);
                self.functions.push(FunctionName {
                    name: name.to_owned(),
                    file: String::new(),
                    start_line: 0,
                });
                number
            }
        };
        let function = &mut self.functions[number as usize];
        if function.file.is_empty() && !file.is_empty() {
            file.clone_into(&mut function.file);
            function.start_line = start_line.max(0);
        }
        Frame {
            function: number,
            line: u32::try_from(line).unwrap_or(0),
        }
    }
}

/// What stands for the name of a location that has none. The offset in the file stays
/// the same from run to run, so that such frames can be compared and named later.
pub(crate) fn nameless(profile: &Profile, location: &Location<'_>) -> String {
    let Some(id) = location.mapping else {
        return format!("{:#x}", location.address);
    };
    let mapping = profile.mapping(id);
    let file = mapping.file.rsplit('/').next().unwrap_or_default();
    if file.is_empty() || !(mapping.start..mapping.limit).contains(&location.address) {
        return format!("{:#x}", location.address);
    }
    let offset = (location.address - mapping.start).saturating_add(mapping.offset);
    format!("{file}+{offset:#x}")
}

/// The pattern of a profile, which must match whole names; an empty one matches none.
fn whole_name(pattern: &str, field: &str) -> Result<Option<Regex>, Error> {
    if pattern.is_empty() {
        return Ok(None);
    }
    Regex::new(&format!("^(?:{pattern})$"))
        .map(Some)
        .map_err(|source| {
            Error::pattern(format!(
                "{field} `{pattern}`: expected a regular expression"
            ))
            .with_source(source)
        })
}

#[cfg(test)]
pub(crate) mod testdata {
    //! A small profile that all reports are tried on.
    //!
    //! ```text
    //! main ┬ parse ─ grow          ×2 sizes   40 + 20 KiB   (parse calls itself once)
    //!      ├ cache (inlined in serve) ─ grow          30 KiB
    //!      └ +0x900, nameless                         10 KiB
    //! ```

    use crate::{Function, Label, Line, LocationId, Mapping, Profile};

    pub(crate) fn heap() -> Profile {
        let mut profile = Profile::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")]);
        profile.set_period_type("space", "bytes");
        profile.period = 512 << 10;
        profile.set_default_sample_type("inuse_space");
        let app = profile.add_mapping(Mapping {
            start: 0x1000,
            limit: 0x9000,
            offset: 0x800,
            file: "/srv/app",
            build_id: "c0ffee",
            ..Mapping::default()
        });
        let mut at = |address: u64, lines: &[(&str, i64)]| -> LocationId {
            let lines: Vec<Line> = lines
                .iter()
                .map(|&(name, line)| Line {
                    function: profile.add_function(Function {
                        name,
                        system_name: name,
                        file: "src/app.rs",
                        start_line: 1,
                    }),
                    line,
                    column: 0,
                })
                .collect();
            let id = profile.add_location(address, Some(app));
            profile.set_lines(id, &lines);
            id
        };
        let main = at(0x1010, &[("app::main", 10)]);
        let parse = at(0x1020, &[("app::parse", 20)]);
        let again = at(0x1028, &[("app::parse", 28)]);
        let serve = at(0x1030, &[("app::cache", 30), ("app::serve", 40)]);
        let grow = at(0x1040, &[("alloc::raw_vec::grow", 50)]);
        let nameless = at(0x1100, &[]);
        let mut push = |stack: &[LocationId], objects: i64, size_bytes: i64| {
            profile.push_sample(
                stack,
                &[objects, objects * size_bytes],
                &[Label::number("bytes", size_bytes, "bytes")],
            );
        };
        push(&[grow, parse, main], 40, 1024);
        push(&[grow, again, parse, main], 10, 2048);
        push(&[grow, serve, main], 15, 2048);
        push(&[nameless, main], 1, 10_240);
        profile
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(selection: &Selection) -> Vec<Vec<&str>> {
        selection
            .stacks()
            .map(|(frames, _)| {
                frames
                    .iter()
                    .map(|frame| selection.function(frame.function).name.as_str())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn inlined_frames_stand_beneath_their_callers() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        assert_eq!(selection.kind, "inuse_space");
        assert_eq!(selection.total.value, 100 << 10);
        assert_eq!(
            names(&selection)[2],
            [
                "app::main",
                "app::serve",
                "app::cache",
                "alloc::raw_vec::grow"
            ]
        );
    }

    #[test]
    fn nameless_frames_are_known_by_their_offset_in_the_file() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        assert_eq!(names(&selection)[3], ["app::main", "app+0x900"]);
    }

    #[test]
    fn dropped_frames_go_with_all_that_they_called_but_never_the_root() {
        let mut profile = testdata::heap();
        profile.set_drop_frames("alloc::.*|app::main|app::serve");
        profile.set_keep_frames("app::serve");
        let selection = Selection::of(&profile, None).unwrap();
        assert_eq!(names(&selection)[0], ["app::main", "app::parse"]);
        assert_eq!(
            names(&selection)[2],
            ["app::main", "app::serve", "app::cache"]
        );
        assert_eq!(selection.total.value, 100 << 10);
    }

    #[test]
    fn unknown_sample_type_names_those_there_are() {
        let error = Selection::of(&testdata::heap(), Some("delay")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sample type `delay`: expected one of inuse_objects, inuse_space"
        );
    }

    #[test]
    fn bad_pattern_in_the_profile_is_an_error() {
        let mut profile = testdata::heap();
        profile.set_drop_frames("(");
        let error = Selection::of(&profile, None).unwrap_err();
        assert!(error.to_string().starts_with("drop_frames `(`"), "{error}");
    }
}
