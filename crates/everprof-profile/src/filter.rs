//! Filter: the samples whose stacks and labels one asks for.
//!
//! Context: cold.
//! Invariant: a sample is kept whole or not at all.
//! Source: focus, ignore and tagfocus of `go tool pprof`, on values instead of options.

use regex_lite::Regex;

use crate::import::Importer;
use crate::{Error, Label, LabelValue, LocationId, Profile};

/// Which samples to keep. An empty filter keeps all.
///
/// ```
/// # fn main() -> Result<(), everprof_profile::Error> {
/// use everprof_profile::Filter;
///
/// let filter = Filter::new().focus("^app::cache")?.ignore("warm_up")?.label("tenant:blue")?;
/// # let _ = filter;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Filter {
    focus: Vec<Regex>,
    ignore: Vec<Regex>,
    labels: Vec<LabelFilter>,
}

#[derive(Clone, Debug)]
struct LabelFilter {
    key: String,
    exact: String,
    /// None when the value can only be meant as it is written.
    pattern: Option<Regex>,
}

impl Filter {
    /// Keeps everything.
    pub fn new() -> Filter {
        Filter::default()
    }

    /// Keeps only samples with a frame that matches: its function, its source file or the
    /// file of its mapping. Of several patterns each must match some frame.
    ///
    /// # Errors
    ///
    /// [`Error::is_pattern`] when it is no regular expression.
    pub fn focus(mut self, pattern: &str) -> Result<Filter, Error> {
        self.focus.push(regex("focus", pattern)?);
        Ok(self)
    }

    /// Leaves out samples with a frame that matches.
    ///
    /// # Errors
    ///
    /// [`Error::is_pattern`] when it is no regular expression.
    pub fn ignore(mut self, pattern: &str) -> Result<Filter, Error> {
        self.ignore.push(regex("ignore", pattern)?);
        Ok(self)
    }

    /// Keeps only samples with a label `KEY:VALUE` (or `KEY=VALUE`), where the value is the
    /// label's or a regular expression that matches it whole. Numbers are compared as
    /// written in decimal, with or without their unit. Of several labels of one key any
    /// will do; of several keys each must be there.
    ///
    /// # Errors
    ///
    /// [`Error::is_pattern`] when there is no key.
    pub fn label(mut self, label: &str) -> Result<Filter, Error> {
        let parts = label.split_once(':').or_else(|| label.split_once('='));
        let Some((key, value)) = parts.filter(|(key, _)| !key.is_empty()) else {
            return Err(Error::pattern(format!(
                "label `{label}`: expected KEY:VALUE, as tenant:blue"
            )));
        };
        self.labels.push(LabelFilter {
            key: key.to_owned(),
            exact: value.to_owned(),
            pattern: Regex::new(&format!("^(?:{value})$")).ok(),
        });
        Ok(self)
    }

    /// Whether it keeps everything.
    pub fn is_empty(&self) -> bool {
        self.focus.is_empty() && self.ignore.is_empty() && self.labels.is_empty()
    }

    fn accepts_labels<'a>(&self, labels: impl Iterator<Item = Label<'a>> + Clone) -> bool {
        let holds = |wanted: &LabelFilter| {
            labels
                .clone()
                .any(|label| label.key == wanted.key && wanted.accepts(&label.value))
        };
        self.labels.iter().all(|wanted| {
            self.labels
                .iter()
                .filter(|other| other.key == wanted.key)
                .any(holds)
        })
    }
}

impl LabelFilter {
    fn accepts(&self, value: &LabelValue<'_>) -> bool {
        let is = |text: &str| {
            self.exact == text
                || self
                    .pattern
                    .as_ref()
                    .is_some_and(|regex| regex.is_match(text))
        };
        match value {
            LabelValue::String(text) => is(text),
            LabelValue::Number { value, unit } => {
                is(&value.to_string()) || is(&format!("{value}{unit}"))
            }
        }
    }
}

impl Profile {
    /// A profile of those samples that the filter keeps, and of what they refer to.
    pub fn filter(&self, filter: &Filter) -> Profile {
        let focus: Vec<Vec<bool>> = filter
            .focus
            .iter()
            .map(|regex| self.matching_locations(regex))
            .collect();
        let ignore: Vec<Vec<bool>> = filter
            .ignore
            .iter()
            .map(|regex| self.matching_locations(regex))
            .collect();
        let mut importer = Importer::new(self);
        let mut source = importer.source(self);
        for sample in self.samples() {
            let has = |matching: &Vec<bool>| sample.stack().any(|at| matching[at.index()]);
            if focus.iter().all(has)
                && !ignore.iter().any(has)
                && filter.accepts_labels(sample.labels())
            {
                importer.copy(&mut source, &sample, sample.values());
            }
        }
        for comment in self.comments() {
            importer.into.add_comment(comment);
        }
        importer.into
    }

    /// For each location, whether any of its frames matches.
    fn matching_locations(&self, regex: &Regex) -> Vec<bool> {
        let functions: Vec<bool> = self
            .functions()
            .map(|(_, function)| regex.is_match(function.name) || regex.is_match(function.file))
            .collect();
        let mappings: Vec<bool> = self
            .mappings()
            .map(|(_, mapping)| regex.is_match(mapping.file))
            .collect();
        let matches = |id: LocationId| {
            let location = self.location(id);
            location
                .lines
                .iter()
                .any(|line| functions[line.function.index()])
                || location.mapping.is_some_and(|id| mappings[id.index()])
        };
        self.locations().map(|(id, _)| matches(id)).collect()
    }
}

fn regex(what: &str, pattern: &str) -> Result<Regex, Error> {
    Regex::new(pattern).map_err(|error| {
        Error::pattern(format!("{what} `{pattern}`: expected a regular expression"))
            .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Mapping;

    /// Samples of value 1, 2, 4: f < main, g (inlined into h) < main, one in a library.
    fn profile() -> Profile {
        let mut profile = Profile::new(&[("n", "count")]);
        let app = profile.add_mapping(Mapping {
            file: "/bin/app",
            ..Mapping::default()
        });
        let library = profile.add_mapping(Mapping {
            file: "/lib/libz.so",
            ..Mapping::default()
        });
        let mut at = |address, mapping, names: &[&str]| {
            let files: Vec<_> = names.iter().map(|name| format!("src/{name}.rs")).collect();
            let frames = names.iter().zip(&files);
            let frames = frames.map(|(name, file)| (*name, file.as_str(), 1));
            profile.add_named(address, Some(mapping), frames)
        };
        let main = at(1, app, &["main"]);
        let f = at(2, app, &["f"]);
        let gh = at(3, app, &["g", "h"]);
        let z = at(4, library, &[]);
        let tenant = |name| Label::string("tenant", name);
        let bytes = |size| Label::number("bytes", size, "bytes");
        profile.push_sample(&[f, main], &[1], &[tenant("blue"), bytes(16)]);
        profile.push_sample(&[gh, main], &[2], &[tenant("red"), bytes(16)]);
        profile.push_sample(&[z, main], &[4], &[]);
        profile
    }

    fn kept(filter: Result<Filter, Error>) -> i64 {
        profile().filter(&filter.unwrap()).totals()[0]
    }

    #[test]
    fn focus_sees_functions_inlines_source_files_and_mappings() {
        assert_eq!(kept(Filter::new().focus("^g$")), 2);
        assert_eq!(kept(Filter::new().focus("src/h")), 2);
        assert_eq!(kept(Filter::new().focus("libz")), 4);
        assert_eq!(kept(Filter::new().focus("main")), 7);
        assert_eq!(
            kept(Filter::new().focus("main").and_then(|f| f.focus("^f$"))),
            1
        );
        assert_eq!(kept(Filter::new().focus("nowhere")), 0);
    }

    #[test]
    fn ignore_takes_away() {
        assert_eq!(kept(Filter::new().ignore("^[fg]$")), 4);
        assert_eq!(
            kept(Filter::new().focus("main").and_then(|f| f.ignore("libz"))),
            3
        );
        assert_eq!(kept(Ok(Filter::new())), 7);
    }

    #[test]
    fn labels_match_whole_by_text_pattern_or_number() {
        assert_eq!(kept(Filter::new().label("tenant:blue")), 1);
        assert_eq!(kept(Filter::new().label("tenant=blue|red")), 3);
        assert_eq!(kept(Filter::new().label("tenant:blu")), 0);
        assert_eq!(
            kept(
                Filter::new()
                    .label("tenant:blue")
                    .and_then(|f| f.label("tenant:red"))
            ),
            3
        );
        assert_eq!(
            kept(
                Filter::new()
                    .label("tenant:blue")
                    .and_then(|f| f.label("bytes:17"))
            ),
            0
        );
        assert_eq!(kept(Filter::new().label("bytes:16")), 3);
        assert_eq!(kept(Filter::new().label("bytes:16bytes")), 3);
        assert_eq!(kept(Filter::new().label("tenant:(")), 0);
    }

    #[test]
    fn only_what_is_referred_to_stays_but_all_mappings() {
        let filtered = profile().filter(&Filter::new().focus("^f$").unwrap());
        assert_eq!(
            (filtered.locations().len(), filtered.functions().len()),
            (2, 2)
        );
        assert_eq!(filtered.mappings().len(), 2);
    }

    #[test]
    fn bad_patterns_are_named() {
        let error = Filter::new().focus("(").unwrap_err();
        assert!(error.is_pattern());
        assert!(
            error
                .to_string()
                .starts_with("focus `(`: expected a regular expression")
        );
        let error = Filter::new().label("blue").unwrap_err();
        assert_eq!(
            error.to_string(),
            "label `blue`: expected KEY:VALUE, as tenant:blue"
        );
    }
}
