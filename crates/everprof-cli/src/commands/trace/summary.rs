//! The summary: a trace in a dozen figures.

use everprof_profile::report::units::{format, percent};
use everprof_profile::trace::{Amount, Ending, Findings, Tables, Totals};
use serde_json::{Value, json};

use super::{TraceArgs, json_head};
use crate::error::Error;
use crate::output::{self, Format, Table};

/// Writes it.
pub fn write(
    input: &str,
    tables: &Tables,
    findings: &Findings,
    ending: &Ending,
    totals: Option<Totals>,
    args: &TraceArgs,
) -> Result<(), Error> {
    match args.format {
        Format::Text => output::print(&format!(
            "{}\n{}",
            head(input, tables, findings),
            table(findings, args).text(output::columns())
        )),
        Format::Md => output::print(&format!(
            "{}\n\n{}",
            head(input, tables, findings),
            table(findings, args).markdown()
        )),
        Format::Json => output::print_json(&to_json(input, tables, findings, ending, totals)),
    }
}

fn head(input: &str, tables: &Tables, findings: &Findings) -> String {
    let program = tables.program();
    let lasted = findings.until_nanos.saturating_sub(findings.from_nanos);
    let started = i64::try_from(program.start_unix_nanos).unwrap_or(i64::MAX);
    let threads = match tables.threads().len() {
        1 => "1 thread".to_owned(),
        threads => format!("{threads} threads"),
    };
    // Moments are told from the trace's start: if the first event came late, or `--time` left
    // out what was before, they are no part of this span.
    let from = match findings.from_nanos {
        from if from > lasted / 100 => format!(" from {} on", nanos(from)),
        _ => String::new(),
    };
    let words = format!(
        "{input}: {} events over {}{from}, {threads} of `{}`, begun {}",
        count(findings.counts.events),
        nanos(lasted),
        program.command_line.join(" "),
        output::date(started),
    );
    output::printable(&words)
}

fn table(findings: &Findings, args: &TraceArgs) -> Table {
    let mut table = Table::new(&["objects", "bytes", "what"], 1);
    let counts = &findings.counts;
    let mut row = |amount: Amount, what: String| {
        table.push(vec![count(amount.objects), bytes(amount.bytes), what]);
    };
    let share = match findings.allocated.objects {
        0 => 0.0,
        all => findings.temporary.objects as f64 / all as f64,
    };
    row(findings.allocated, "allocated".to_owned());
    row(
        findings.temporary,
        format!("temporary, {} of the objects", percent(share)),
    );
    row(
        findings.at_peak,
        format!("in use at the peak, after {}", nanos(findings.peak_nanos)),
    );
    row(findings.in_use, "in use at the end".to_owned());
    table.push(vec![
        count(findings.reallocations),
        bytes(findings.copied_bytes),
        format!(
            "reallocated; {} moved, copied at most",
            count(findings.moved)
        ),
    ]);
    let mut counted = |number: u64, what: &str| {
        if number > 0 {
            table.push(vec![count(number), String::new(), what.to_owned()]);
        }
    };
    if args.heap.is_none() {
        counted(counts.managed_allocs, "allocated in managed heaps (--heap)");
    }
    counted(counts.cycles, "steps of managed heaps' clocks");
    let is_filtered = args.size.is_some()
        || args.thread.is_some()
        || !args.focus.is_empty()
        || !args.ignore.is_empty();
    if !is_filtered {
        counted(
            findings.unknown_frees,
            "freed, but allocated before the trace",
        );
    }
    counted(
        findings.displaced,
        "ended, but their free is not in the trace",
    );
    counted(counts.lost, "events lost: there was no room for them");
    table.without_empty_columns()
}

fn to_json(
    input: &str,
    tables: &Tables,
    findings: &Findings,
    ending: &Ending,
    totals: Option<Totals>,
) -> Value {
    let amount = |amount: Amount| json!({ "objects": amount.objects, "bytes": amount.bytes });
    let counts = &findings.counts;
    let mut report = json_head("summary", input, tables, findings);
    report["threads"] = tables.threads().len().into();
    report["events"] = counts.events.into();
    report["allocs"] = counts.allocs.into();
    report["frees"] = counts.frees.into();
    report["reallocs"] = counts.reallocs.into();
    report["managed_allocs"] = counts.managed_allocs.into();
    report["managed_frees"] = counts.managed_frees.into();
    report["cycles"] = counts.cycles.into();
    report["lost"] = counts.lost.into();
    report["allocated"] = amount(findings.allocated);
    report["temporary"] = amount(findings.temporary);
    report["at_peak"] = amount(findings.at_peak);
    report["peak_nanos"] = findings.peak_nanos.into();
    report["in_use"] = amount(findings.in_use);
    report["reallocations"] = json!({
        "objects": findings.reallocations,
        "moved": findings.moved,
        "copied_bytes": findings.copied_bytes,
    });
    report["unknown_frees"] = findings.unknown_frees.into();
    report["displaced"] = findings.displaced.into();
    report["is_whole"] = ending.is_whole().into();
    report["ending"] = ending.to_string().into();
    report["recorded"] = match totals {
        Some(totals) => json!({ "events": totals.events, "lost": totals.lost }),
        None => Value::Null,
    };
    report
}

/// `12,345`.
pub fn count(number: u64) -> String {
    format(clamped(number), "count")
}

/// `1.20 MiB`.
pub fn bytes(number: u64) -> String {
    format(clamped(number), "bytes")
}

/// `3.50 ms`.
pub fn nanos(number: u64) -> String {
    format(clamped(number), "nanoseconds")
}

fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
