//! `everprof trace`: every allocation of a program, one by one or all together.
//!
//! ```text
//! source ─→ names (a first reading, for --focus, --ignore, --events)
//!        └→ Objects ─→ Findings ─┬─→ summary, sites    tables of this command
//!                                └─→ Profile           the table of `top`, or a file
//! ```

mod events;
mod ranges;
mod sites;
mod source;
mod summary;

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use everprof_profile::report::Selection;
use everprof_profile::report::top::{Order, top};
use everprof_profile::trace::stacks::{self, Shown};
use everprof_profile::trace::{Ending, Findings, Objects, Table, Tables, View, Wanted};
use everprof_profile::{Profile, pprof};
use serde_json::json;

use crate::args;
use crate::error::Error;
use crate::input::Source;
use crate::output::{self, Format, note};
use source::Bytes;

/// Show what became of every object in a trace of allocations.
///
/// Without a view it sums the trace up. `--peak` and `--leaks` are written as `everprof top`
/// writes profiles; with -o any view but --events becomes a profile, which every other
/// command reads.
#[derive(Debug, clap::Args)]
pub struct TraceArgs {
    /// A file with a trace, or `-`
    #[arg(value_name = "TRACE")]
    source: Source,

    #[command(flatten)]
    view: ViewArgs,

    /// Only objects whose stack has a function or file that matches; repeated: each must
    #[arg(long, value_name = "REGEX")]
    focus: Vec<String>,

    /// Leave out objects whose stack has a function or file that matches
    #[arg(long, value_name = "REGEX")]
    ignore: Vec<String>,

    /// Only objects that this thread allocated, by its name or number
    #[arg(long, value_name = "NAME")]
    thread: Option<String>,

    /// Only objects of these sizes, as 1KiB.. or 64..4096
    #[arg(long, value_name = "BYTES..BYTES", value_parser = ranges::sizes)]
    size: Option<RangeInclusive<u64>>,

    /// Only this part of the trace, as 1s..2s from its start
    #[arg(long, value_name = "TIME..TIME", value_parser = ranges::times)]
    time: Option<Range<u64>>,

    /// Objects of this managed heap instead of the program's own
    #[arg(long, value_name = "NAME")]
    heap: Option<String>,

    /// Take names from this file, such as the unstripped copy of the program
    #[arg(long, value_name = "PATH")]
    binary: Vec<PathBuf>,

    /// Read no binaries: show addresses
    #[arg(long, conflicts_with = "binary")]
    no_symbolize: bool,

    /// Charge what the standard library allocates to the code that called it, with --peak
    /// and --leaks
    #[arg(long)]
    own: bool,

    /// How to write the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// How many functions or events to show; 0 for all [default: 20 functions, all events]
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,

    /// Write a profile to this file instead of a report
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["events", "format", "limit"])]
    output: Option<PathBuf>,
}

/// What to show.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "flags of which one is given at most"
)]
struct ViewArgs {
    /// What the trace has of each kind, peak, temporaries, losses: what is shown without a view
    #[arg(long)]
    summary: bool,

    /// What was in use when most bytes were
    #[arg(long)]
    peak: bool,

    /// What was in use at the end
    #[arg(long)]
    leaks: bool,

    /// What was freed before its thread allocated again
    #[arg(long)]
    temporaries: bool,

    /// How long objects lived
    #[arg(long)]
    lifetimes: bool,

    /// What was reallocated, and how much that copied
    #[arg(long)]
    reallocs: bool,

    /// One event after another, each with its stack
    #[arg(long)]
    events: bool,
}

impl TraceArgs {
    fn limit(&self) -> usize {
        match self.limit {
            None => 20,
            Some(0) => usize::MAX,
            Some(limit) => limit,
        }
    }

    /// Whether names decide what is looked at, so that all of them are needed before the
    /// first event.
    fn needs_names_first(&self) -> bool {
        self.view.events || !self.focus.is_empty() || !self.ignore.is_empty()
    }

    fn name(&self, profile: &mut Profile) -> Result<(), Error> {
        if !self.no_symbolize {
            let binaries = args::binaries(&self.binary)?;
            args::symbolize(profile, &binaries, &self.source);
        }
        // What recorded the stacks leads them, whatever the values are.
        profile.trim();
        Ok(())
    }

    fn name_stacks(&self, tables: &Tables) -> Result<Profile, Error> {
        let mut named = stacks::profile(tables, 0..tables.stacks())?;
        self.name(&mut named)?;
        Ok(named)
    }
}

/// Reports.
pub fn main(args: &TraceArgs) -> Result<(), Error> {
    // Before anything is read: what is wrong with it is no fault of the trace.
    let filter = args::stack_filter(&args.focus, &args.ignore)?;
    args::binaries(&args.binary)?;
    let mut bytes = Bytes::open(&args.source, args.needs_names_first())?;
    let mut wanted = Wanted {
        sizes: args.size.clone().unwrap_or(0..=u64::MAX),
        thread: args.thread.clone(),
        nanos: args.time.clone().unwrap_or(0..u64::MAX),
        lifetimes: args.view.lifetimes,
        ..Wanted::default()
    };
    let mut shown = Shown::default();
    if args.needs_names_first() {
        let mut reader = bytes.reader("reading the stacks of")?;
        reader.skip_events();
        thread_is_there(args, reader.tables())?;
        let named = args.name_stacks(reader.tables())?;
        if !filter.is_empty() {
            wanted.stacks = Some(stacks::kept(&named, &filter));
        }
        shown.add(&named);
    }
    let mut reader = bytes.reader("reading")?;
    if args.view.events {
        let ending = events::write(&mut reader, &wanted, &shown, args)?;
        return told(&args.source, &ending);
    }
    let Some(name) = &args.heap else {
        let objects = Objects::new(wanted, reader.tables());
        return report(args, reader, objects);
    };
    // A heap is named in front of its first event.
    let mut objects = None;
    while let Some(event) = reader.next_event() {
        let tables = reader.tables();
        if objects.is_none() {
            wanted.heap = heap(tables, name);
            objects = wanted
                .heap
                .map(|_| Objects::new(wanted.clone(), reader.tables()));
        }
        if let Some(objects) = &mut objects {
            objects.take(&event, reader.tables());
        }
    }
    let Some(objects) = objects else {
        return Err(no_such_heap(args, reader.tables(), name));
    };
    report(args, reader, objects)
}

fn report(args: &TraceArgs, mut reader: source::Trace, mut objects: Objects) -> Result<(), Error> {
    while let Some(event) = reader.next_event() {
        if objects.is_past(event.time) {
            break;
        }
        objects.take(&event, reader.tables());
    }
    let ending = reader.ending();
    let (tables, totals) = (reader.tables().clone(), ending.totals);
    // Its bar has come to its end.
    drop(reader);
    let findings = objects.finish(&tables);
    thread_is_there(args, &tables)?;
    let input = args.source.to_string();
    if findings.counts.events == 0 {
        note(&format!("`{input}`: no event in this part of the trace"));
    }
    let view = match () {
        () if args.view.peak => View::Peak,
        () if args.view.temporaries => View::Temporaries,
        () if args.view.lifetimes => View::Lifetimes,
        () if args.view.reallocs => View::Reallocations,
        () => View::Heap,
    };
    let is_summary = view == View::Heap && !args.view.leaks;
    if let Some(file) = &args.output {
        let mut profile = findings.profile(&tables, view)?;
        args.name(&mut profile)?;
        output::write_to(Some(file), "trace", "pb.gz", |out| {
            pprof::encode(&profile, out)
        })?;
    } else if is_summary {
        summary::write(&input, &tables, &findings, &ending, totals, args)?;
    } else if matches!(view, View::Heap | View::Peak) {
        write_top(&input, &tables, &findings, view, args)?;
    } else {
        let mut shown = Shown::default();
        shown.add(&args.name_stacks(&tables)?);
        sites::write(&input, &tables, &findings, &shown, view, args)?;
    }
    told(&args.source, &ending)
}

/// As `everprof top`, with when that was.
fn write_top(
    input: &str,
    tables: &Tables,
    findings: &Findings,
    view: View,
    args: &TraceArgs,
) -> Result<(), Error> {
    let mut profile = findings.profile(tables, view)?;
    args.name(&mut profile)?;
    let mut selection = Selection::of(&profile, None)?;
    if args.own {
        selection = selection.own();
    }
    let top = top(&selection, Order::Flat, args.limit());
    super::top::report(args.format, input, &selection, &top, Order::Flat)
}

/// What the reader must know of a trace that is not whole.
fn told(source: &Source, ending: &Ending) -> Result<(), Error> {
    if ending.unordered > 0 {
        note(&format!(
            "`{source}`: too many events without a round: the order between threads is not sure"
        ));
    }
    if ending.is_cut_off() {
        // As of a program that was killed: what is there is good.
        note(&format!("`{source}`: {ending}"));
    } else if !ending.is_whole() && !ending.is_unread() {
        return Err(Error::new(format!("`{source}`: {ending}")));
    }
    Ok(())
}

/// An error where there is no thread of the name that was given.
fn thread_is_there(args: &TraceArgs, tables: &Tables) -> Result<(), Error> {
    let wanted = Wanted {
        thread: args.thread.clone(),
        ..Wanted::default()
    };
    let (Some(name), false) = (&args.thread, wanted.has_thread(tables)) else {
        return Ok(());
    };
    let mut names: Vec<&str> = tables.threads().iter().map(|of| &*of.name).collect();
    names.sort_unstable();
    names.dedup();
    let more = match names.len() {
        0..=MOST_NAMES => String::new(),
        all => format!(" and {} more", all - MOST_NAMES),
    };
    names.truncate(MOST_NAMES);
    Err(Error::new(format!(
        "--thread `{name}`: expected a thread's number, or one of {}{more}",
        names.join(", ")
    )))
}

/// Names that are told to who gave another one.
const MOST_NAMES: usize = 20;

fn heap(tables: &Tables, name: &str) -> Option<u32> {
    let mut names = tables.names(Table::Heaps);
    names.find_map(|(number, known)| (known == name).then_some(number))
}

fn no_such_heap(args: &TraceArgs, tables: &Tables, name: &str) -> Error {
    let mut names: Vec<&str> = tables.names(Table::Heaps).map(|(_, name)| name).collect();
    names.sort_unstable();
    let source = &args.source;
    Error::new(match names.is_empty() {
        true => format!("--heap `{name}`: `{source}` has no managed heaps"),
        false => format!("--heap `{name}`: expected one of {}", names.join(", ")),
    })
}

/// What all reports as JSON begin with.
fn json_head(view: &str, input: &str, tables: &Tables, findings: &Findings) -> serde_json::Value {
    let program = tables.program();
    json!({
        "report": "trace",
        "view": view,
        "input": input,
        "command": program.command_line,
        "pid": program.pid,
        "start_nanos": program.start_unix_nanos,
        "from_nanos": findings.from_nanos,
        "until_nanos": findings.until_nanos,
    })
}
