//! What the commands have in common: which samples to read, and how to show them.

use std::path::PathBuf;

use everprof_profile::report::Selection;
use everprof_profile::symbolize::{self, Binaries};
use everprof_profile::{Filter, Profile};

use crate::error::Error;
use crate::input::Source;
use crate::output::{Format, Progress, note};
use crate::run::Library;

/// Which samples of a profile, and whence their names.
#[derive(Debug, Default, clap::Args)]
pub struct ReadArgs {
    /// Only stacks with a function or file that matches; repeated: each must match
    #[arg(long, value_name = "REGEX")]
    pub focus: Vec<String>,

    /// Leave out stacks with a function or file that matches
    #[arg(long, value_name = "REGEX")]
    pub ignore: Vec<String>,

    /// Only samples with this label
    #[arg(long, value_name = "KEY:VALUE")]
    pub label: Vec<String>,

    /// Take names from this file, such as the unstripped copy of the program
    #[arg(long, value_name = "PATH")]
    pub binary: Vec<PathBuf>,

    /// Read no binaries: keep the names that the profile holds
    #[arg(long, conflicts_with = "binary")]
    pub no_symbolize: bool,

    #[command(flatten)]
    pub size: SizeArgs,
}

/// How much to take from a stranger.
#[derive(Debug, Default, clap::Args)]
pub struct SizeArgs {
    /// Refuse profiles that are larger when decompressed
    // The decoder's own default: ten times the largest profile of a real service.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub max_mib: u32,
}

/// Which figures of a profile.
#[derive(Debug, clap::Args)]
pub struct SelectArgs {
    #[command(flatten)]
    pub read: ReadArgs,

    /// Which of the profile's values, such as alloc_space [default: the profile's choice]
    #[arg(long, value_name = "KIND")]
    pub sample_type: Option<String>,

    /// Charge what the standard library allocates to the code that called it
    #[arg(long)]
    pub own: bool,
}

/// How to report them.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub select: SelectArgs,

    /// How to write the report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

impl ReadArgs {
    /// Reads a profile, names it and keeps the samples that were asked for.
    pub fn profile(&self, source: &Source) -> Result<Profile, Error> {
        let filter = self.filter()?;
        let binaries = binaries(&self.binary)?;
        let mut profile = source.read(self.size.max_mib)?;
        if !self.no_symbolize {
            symbolize(&mut profile, &binaries, source);
        }
        if filter.is_empty() {
            return Ok(profile);
        }
        let had_samples = profile.samples().len() > 0;
        let profile = profile.filter(&filter);
        if had_samples && profile.samples().len() == 0 {
            note(&format!("`{source}`: no sample matches the filters"));
        }
        Ok(profile)
    }

    fn filter(&self) -> Result<Filter, Error> {
        let mut filter = stack_filter(&self.focus, &self.ignore)?;
        for label in &self.label {
            filter = filter.label(label)?;
        }
        Ok(filter)
    }
}

/// What `--focus` and `--ignore` say.
pub fn stack_filter(focus: &[String], ignore: &[String]) -> Result<Filter, Error> {
    let mut filter = Filter::new();
    for pattern in focus {
        filter = filter.focus(pattern)?;
    }
    for pattern in ignore {
        filter = filter.ignore(pattern)?;
    }
    Ok(filter)
}

/// The files that `--binary` names.
pub fn binaries(paths: &[PathBuf]) -> Result<Binaries, Error> {
    let mut binaries = Binaries::new();
    for path in paths {
        binaries.add(path).map_err(|error| {
            Error::new(format!(
                "--binary `{}`: expected the ELF file that was profiled",
                path.display()
            ))
            .because(error)
        })?;
    }
    Ok(binaries)
}

/// Lines and inlined frames from the mapped files, where they are here and the same.
pub fn symbolize(profile: &mut Profile, binaries: &Binaries, source: &Source) {
    for unused in binaries.unused(profile) {
        note(&format!(
            "--binary `{}`: `{source}` has no mapping of its build id or name",
            unused.display()
        ));
    }
    let _progress = Progress::start("naming addresses");
    let preloaded = Library::in_profile(profile);
    let mut all = binaries.clone();
    if let Some(library) = &preloaded {
        // It was read just now; else its addresses stay what they are.
        let _ = all.add(library.path());
    }
    let outcome = symbolize::full_from(profile, &all);
    // Who wrote the profile may have known no inlined functions, so that ours come to
    // light now. Of CPU time they are a part, and nowhere else.
    if begins_in_a_recorder(profile) {
        profile.trim();
    }
    if outcome.unnamed == 0 {
        return;
    }
    let (first, others) = match outcome.problems.split_first() {
        None => return,
        Some((first, others)) => (first, others.len()),
    };
    let others = match others {
        0 => String::new(),
        others => format!(" (and {others} files more)"),
    };
    note(&format!(
        "{} addresses have no name: {first}{others}",
        outcome.unnamed
    ));
    if binaries.is_empty() {
        note("to name them, add --binary PATH with the unstripped program");
    }
}

/// Whether samples were taken by an allocator, a lock or the like, whose own frames then
/// lead each stack.
fn begins_in_a_recorder(profile: &Profile) -> bool {
    const KINDS: [&str; 6] = [
        "inuse_space",
        "alloc_space",
        "contentions",
        "threadcreate",
        "threads",
        "goroutine",
    ];
    KINDS
        .iter()
        .any(|kind| profile.sample_type_index(kind).is_some())
}

/// What the profile says of itself: what is missing in it, or how much is not seen. A figure
/// that is read without it may mislead.
fn tell_comments(profile: &Profile, source: &Source) {
    let comments: Vec<&str> = profile.comments().filter(|c| !is_of_names(c)).collect();
    for comment in comments.iter().take(MOST_COMMENTS) {
        note(&format!("`{source}`: {comment}"));
    }
    if let more @ 1.. = comments.len().saturating_sub(MOST_COMMENTS) {
        note(&format!("`{source}`: … {more} more comments"));
    }
}

/// An empty table looks like a failure: says that it is none, and where there is more.
fn tell_empty(profile: &Profile, selection: &Selection, source: &Source) {
    let totals = profile.totals();
    let others = profile.sample_types().zip(totals);
    let other = others
        .filter(|(_, total)| *total != 0)
        .map(|(found, _)| found.kind)
        .last();
    let more = match other {
        Some(kind) => format!("; it has {kind}: --sample-type {kind}"),
        None => String::new(),
    };
    note(&format!("`{source}` has no {}{more}", selection.kind));
}

/// Whether a comment tells what had no name where the profile was taken. What has none here is
/// told by [`symbolize()`], which may have found it.
pub fn is_of_names(comment: &str) -> bool {
    comment.starts_with("symbols: ")
}

/// Everprof's own profiles have three at most; those that were merged have each one's.
const MOST_COMMENTS: usize = 6;

impl SelectArgs {
    /// Reads a profile and takes the figures that were asked for.
    pub fn selection(&self, source: &Source) -> Result<Selection, Error> {
        let profile = self.read.profile(source)?;
        tell_comments(&profile, source);
        let selection = Selection::of(&profile, self.sample_type.as_deref())
            .map_err(|error| Error::new(format!("`{source}`: {error}")).because(error))?;
        if selection.stacks().len() == 0 {
            tell_empty(&profile, &selection, source);
        }
        Ok(match self.own {
            true => selection.own(),
            false => selection,
        })
    }
}
