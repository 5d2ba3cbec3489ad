//! `everprof peek`: who called a function, and what it called.

use std::fmt::Write as _;
use std::path::Path;

use everprof_profile::errorbars::Estimate;
use everprof_profile::report::Selection;
use everprof_profile::report::peek::{Call, Pattern, Peek, peek};
use everprof_profile::report::units::{format, percent};
use serde_json::{Value, json};

use crate::args::ReportArgs;
use crate::error::Error;
use crate::input::Source;
use crate::output::{self, Format, Table};

/// Show the callers and callees of functions.
#[derive(Debug, clap::Args)]
pub struct PeekArgs {
    /// A regular expression that the functions' names match
    #[arg(value_name = "REGEX")]
    pattern: String,

    /// A file, a URL or `-`
    #[arg(value_name = "PROFILE")]
    source: Source,

    #[command(flatten)]
    report: ReportArgs,

    /// How many functions to show, and of each how many callers and callees; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    limit: usize,
}

/// Reports.
pub fn main(args: &PeekArgs) -> Result<(), Error> {
    let pattern = Pattern::new(&args.pattern)?;
    let read = args.report.select.selection(&args.source);
    let selection = read.map_err(|error| match Path::new(&args.pattern).is_file() {
        // The other way round, as every other command has it.
        true => error.hint(format!("everprof peek '{}' {}", args.source, args.pattern)),
        false => error,
    })?;
    let limit = if args.limit == 0 {
        usize::MAX
    } else {
        args.limit
    };
    let peeks = peek(&selection, &pattern);
    if peeks.is_empty() {
        return Err(Error::new(format!(
            "`{}`: no function matches `{}`",
            args.source, args.pattern
        ))
        .hint(format!("everprof top -n 0 {}", args.source)));
    }
    let input = args.source.to_string();
    match args.report.format {
        Format::Text => output::print(&text(&input, &selection, &peeks, limit)),
        Format::Json => output::print_json(&to_json(&input, &selection, &peeks, limit)),
        Format::Md => output::print(&markdown(&input, &selection, &peeks, limit)),
    }
}

fn text(input: &str, selection: &Selection, peeks: &[Peek], limit: usize) -> String {
    let mut out = output::head(input, selection);
    out.push('\n');
    for peek in peeks.iter().take(limit) {
        let name = output::printable(&selection.function(peek.row.function).name);
        let _ = writeln!(out, "\n{name}\n{}", own(selection, peek));
        out.push_str(&table(selection, peek, limit).text(output::columns()));
    }
    out.push_str(&rest(peeks, limit));
    out
}

fn markdown(input: &str, selection: &Selection, peeks: &[Peek], limit: usize) -> String {
    let mut out = output::head(input, selection);
    out.push('\n');
    for peek in peeks.iter().take(limit) {
        let name = output::printable(&selection.function(peek.row.function).name);
        let _ = writeln!(
            out,
            "\n### {}\n\n{}\n\n{}",
            output::code(&name),
            own(selection, peek).trim_start(),
            table(selection, peek, limit).markdown().trim_end()
        );
    }
    out.push_str(&rest(peeks, limit));
    out
}

fn own(selection: &Selection, peek: &Peek) -> String {
    format!(
        "  flat {}, cum {} ({})",
        output::with_bar(selection, &peek.row.flat),
        output::with_bar(selection, &peek.row.cum),
        percent(selection.share(peek.row.cum.value))
    )
}

fn table(selection: &Selection, peek: &Peek, limit: usize) -> Table {
    let mut table = Table::new(&["", "cum", "±", "of it", "name"], 1);
    let whole = peek.row.cum.value.unsigned_abs().max(1) as f64;
    for (side, calls) in [("caller", &peek.callers), ("callee", &peek.callees)] {
        for call in calls.iter().take(limit) {
            table.push(vec![
                side.to_owned(),
                format(call.estimate.value, &selection.unit),
                output::bar(selection.has_error_bars, &selection.unit, &call.estimate),
                percent(call.estimate.value as f64 / whole),
                selection.function(call.function).name.clone(),
            ]);
        }
        if calls.len() > limit {
            let value = calls[limit..].iter().map(|call| call.estimate.value).sum();
            table.push(vec![
                side.to_owned(),
                format(value, &selection.unit),
                String::new(),
                percent(value as f64 / whole),
                format!("… {} more", calls.len() - limit),
            ]);
        }
    }
    table.without_empty_columns()
}

fn rest(peeks: &[Peek], limit: usize) -> String {
    match peeks.len().saturating_sub(limit) {
        0 => String::new(),
        more => format!("\n… {more} more functions match (-n 0 shows all)\n"),
    }
}

fn to_json(input: &str, selection: &Selection, peeks: &[Peek], limit: usize) -> Value {
    let estimate = |estimate: &Estimate| output::json_estimate(selection.has_error_bars, estimate);
    let side = |calls: &[Call]| -> Vec<Value> {
        calls
            .iter()
            .take(limit)
            .map(|call| {
                let name = &selection.function(call.function).name;
                json!({ "name": name, "cum": estimate(&call.estimate) })
            })
            .collect()
    };
    let functions: Vec<Value> = peeks
        .iter()
        .take(limit)
        .map(|peek| {
            let function = selection.function(peek.row.function);
            json!({
                "name": function.name,
                "file": function.file,
                "line": peek.row.line,
                "flat": estimate(&peek.row.flat),
                "cum": estimate(&peek.row.cum),
                "callers": side(&peek.callers),
                "callees": side(&peek.callees),
            })
        })
        .collect();
    let mut report = output::json_head("peek", input, selection);
    report["functions"] = functions.into();
    report["left_out"] = json!({ "functions": peeks.len().saturating_sub(limit) });
    report
}
