//! `everprof stacks`: what each thread is doing.

use std::fmt::Write as _;

use everprof_profile::Profile;
use everprof_profile::stacks::{Group, StackFrame, Stacks, groups};
use serde_json::{Map, Value, json};

use crate::args::{self, ReadArgs};
use crate::error::Error;
use crate::input::Source;
use crate::output::{self, Format};

/// Show what each thread is doing, those at one place together.
///
/// Of a running program it asks /debug/pprof/goroutine, where everprof's programs tell of
/// their tasks and threads, and Go's of their goroutines.
#[derive(Debug, clap::Args)]
pub struct StacksArgs {
    /// A file, a URL or `-`; http://localhost:6060 means its threads
    #[arg(value_name = "PROFILE", value_parser = source)]
    source: Source,

    #[command(flatten)]
    read: ReadArgs,

    /// How to write the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// One paragraph a thread instead of groups
    #[arg(long, conflicts_with = "limit")]
    each: bool,

    /// Show the frames of a thread's start, too
    #[arg(long, conflicts_with = "each")]
    full: bool,

    /// How many groups to show; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

impl StacksArgs {
    fn groups(&self) -> usize {
        match self.limit {
            0 => usize::MAX,
            limit => limit,
        }
    }
}

fn source(given: &str) -> Result<Source, String> {
    Ok(Source::parse(given, "goroutine"))
}

/// Reports.
pub fn main(args: &StacksArgs) -> Result<(), Error> {
    let profile = args.read.profile(&args.source)?;
    let input = args.source.to_string();
    if !KINDS
        .iter()
        .any(|kind| profile.sample_type_index(kind) == Some(0))
    {
        let found = profile
            .sample_types()
            .next()
            .map_or("nothing", |first| first.kind);
        return Err(Error::new(format!(
            "`{input}` is of {found}: expected a profile of threads"
        ))
        .hint(format!("everprof top {input}")));
    }
    let stacks = Stacks::of(&profile);
    let groups = groups(&stacks);
    match args.format {
        Format::Text if args.each => output::print(&output::printable_lines(&stacks.to_string())),
        Format::Text => output::print(&text(&input, &profile, &groups, args, output::columns())),
        Format::Json => output::print_json(&to_json(&input, &profile, &groups)),
        Format::Md if args.each => {
            let head = head(&input, &profile, &groups);
            let each = fenced(&output::printable_lines(&stacks.to_string()));
            output::print(&format!("{head}\n\n{each}"))
        }
        Format::Md => output::print(&markdown(&input, &profile, &groups, args)),
    }
}

fn head(input: &str, profile: &Profile, groups: &[Group<'_>]) -> String {
    // Tasks and threads may be in one profile.
    let mut kinds: Vec<(&str, u64)> = Vec::new();
    for group in groups {
        let kind = group.first.kind.as_str();
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += group.count,
            None => kinds.push((kind, group.count)),
        }
    }
    if kinds.is_empty() {
        kinds.push(("thread", 0));
    }
    let counts: Vec<String> = kinds
        .iter()
        .map(|&(kind, count)| plural(count, kind))
        .collect();
    let mut words = format!(
        "{input}: {} at {}",
        counts.join(" and "),
        plural(groups.len() as u64, "place")
    );
    if profile.time_nanos > 0 {
        let _ = write!(words, ", taken {}", output::date(profile.time_nanos));
    }
    for comment in profile.comments().filter(|c| !args::is_of_names(c)) {
        let _ = write!(words, "\n{comment}");
    }
    output::printable(&words)
}

/// `12 threads [mutex ×9, sleep ×3] "worker ×12" {tenant:blue}`.
fn title(group: &Group<'_>) -> String {
    let mut words = plural(group.count, &group.first.kind);
    // One alone is told in full: its time, its address, its number.
    if let [thread] = group.threads[..]
        && thread.count == 1
    {
        if thread.id != 0 {
            let _ = write!(words, " {}", thread.id);
        }
        if !thread.name.is_empty() {
            let _ = write!(words, " \"{}\"", thread.name);
        }
        if !thread.state.is_empty() {
            let _ = write!(words, " [{}]", thread.state);
        }
    } else {
        let names = counted(&group.names(), group.count);
        if !names.is_empty() {
            let _ = write!(words, " \"{names}\"");
        }
        let states = counted(&group.states(), group.count);
        if !states.is_empty() {
            let _ = write!(words, " [{states}]");
        }
    }
    let labels: Vec<String> = group
        .first
        .labels
        .iter()
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    if !labels.is_empty() {
        let _ = write!(words, " {{{}}}", labels.join(", "));
    }
    output::printable(&words.replace('\n', " "))
}

/// Texts with how many, unless it is all of them.
fn counted(texts: &[(&str, u64)], all: u64) -> String {
    let mut words: Vec<String> = texts
        .iter()
        .take(MOST_TEXTS)
        .map(|&(text, count)| match count == all {
            true => text.to_owned(),
            false => format!("{text} ×{count}"),
        })
        .collect();
    if texts.len() > MOST_TEXTS {
        words.push("…".to_owned());
    }
    words.join(", ")
}

fn text(
    input: &str,
    profile: &Profile,
    groups: &[Group<'_>],
    args: &StacksArgs,
    columns: Option<usize>,
) -> String {
    let mut out = head(input, profile, groups);
    out.push('\n');
    for group in groups.iter().take(args.groups()) {
        let _ = writeln!(out, "\n{}", title(group));
        let (places, width) = laid_out(group, args.full);
        for (name, at) in places {
            let name = output::printable(&name);
            let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(2));
            // Names matter more than places: these follow where there is room.
            let line = match at.is_empty() || room < width + 2 + LEAST_PLACE {
                true => output::shortened(&name, room),
                false => {
                    let at = output::shortened(&output::printable(&at), room - width - 2);
                    format!("{}  {at}", output::padded(&name, width))
                }
            };
            let _ = writeln!(out, "  {}", line.trim_end());
        }
    }
    out.push_str(&rest(groups, args.groups()));
    out
}

fn markdown(input: &str, profile: &Profile, groups: &[Group<'_>], args: &StacksArgs) -> String {
    let mut out = head(input, profile, groups);
    out.push('\n');
    for group in groups.iter().take(args.groups()) {
        let (places, width) = laid_out(group, args.full);
        let lines: String = places
            .iter()
            .map(|(name, at)| {
                let line = format!("{}  {at}", output::padded(name, width));
                format!("{}\n", output::printable(line.trim_end()))
            })
            .collect();
        let _ = write!(out, "\n**{}**\n\n{}", title(group), fenced(&lines));
    }
    match rest(groups, args.groups()) {
        rest if rest.is_empty() => {}
        rest => {
            let _ = write!(out, "\n{}", rest.trim_start());
        }
    }
    out
}

/// The frames as name and place, then where the first of the group was created, and how
/// wide the names are.
fn laid_out(group: &Group<'_>, full: bool) -> (Vec<(String, String)>, usize) {
    let mut places: Vec<(String, String)> = group
        .first
        .frames
        .iter()
        // As std's own backtraces: what is below was there before the program.
        .take_while(|frame| full || !frame.name.contains("__rust_begin_short_backtrace"))
        .map(|frame| (frame.name.replace('\n', " "), place(frame)))
        .collect();
    let mut created = group.first.created_by.lines();
    if let Some(first) = created.next() {
        let at = created.next().unwrap_or_default().trim().to_owned();
        places.push((format!("created by {first}"), at));
    }
    let widths = places.iter().map(|(name, _)| output::width(name));
    let width = widths
        .filter(|&width| width <= WIDEST_NAME)
        .max()
        .unwrap_or(0);
    (places, width)
}

fn place(frame: &StackFrame) -> String {
    match frame.file.as_str() {
        "" => String::new(),
        file if frame.line > 0 => format!("{file}:{}", frame.line),
        file => file.to_owned(),
    }
}

/// A block of code whose fence is longer than any in it.
fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}\n{text}{fence}\n")
}

fn rest(groups: &[Group<'_>], limit: usize) -> String {
    let left_out = groups.get(limit..).unwrap_or_default();
    if left_out.is_empty() {
        return String::new();
    }
    let threads: u64 = left_out.iter().map(|group| group.count).sum();
    format!(
        "\n… {} more at {} (-n 0 shows all)\n",
        plural(threads, &left_out[0].first.kind),
        plural(left_out.len() as u64, "place")
    )
}

fn plural(count: u64, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    }
}

fn to_json(input: &str, profile: &Profile, groups: &[Group<'_>]) -> Value {
    let counted = |texts: Vec<(&str, u64)>, key: &str| -> Value {
        texts
            .into_iter()
            .map(|(text, count)| json!({ key: text, "count": count }))
            .collect()
    };
    let group = |group: &Group<'_>| {
        let labels: Map<String, Value> = group
            .first
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into()))
            .collect();
        let frames: Value = group
            .first
            .frames
            .iter()
            .map(|frame| json!({ "name": frame.name, "file": frame.file, "line": frame.line }))
            .collect();
        let threads: Value = group
            .threads
            .iter()
            .map(|thread| {
                json!({
                    "id": thread.id,
                    "name": thread.name,
                    "state": thread.state,
                    "created_by": thread.created_by,
                    "count": thread.count,
                })
            })
            .collect();
        json!({
            "kind": group.first.kind,
            "count": group.count,
            "states": counted(group.states(), "state"),
            "names": counted(group.names(), "name"),
            "labels": labels,
            "frames": frames,
            "threads": threads,
        })
    };
    json!({
        "report": "stacks",
        "input": input,
        "time_nanos": profile.time_nanos,
        "comments": profile.comments().collect::<Vec<_>>(),
        "count": groups.iter().map(|group| group.count).sum::<u64>(),
        "groups": groups.iter().map(group).collect::<Vec<_>>(),
    })
}

/// What such profiles count.
const KINDS: [&str; 3] = ["threads", "goroutine", "tasks"];
/// States and names in a title: more is a list, not a title.
const MOST_TEXTS: usize = 3;
/// Wider names stand alone on their line: they would push all places away.
const WIDEST_NAME: usize = 60;
/// Narrower places say nothing.
const LEAST_PLACE: usize = 12;
