//! Tables by site: temporaries, lifetimes, reallocations.
//!
//! A site is the function, and its line, that asked for the objects: the innermost one of a stack
//! that is the program's own and not the standard library's.

use std::collections::HashMap;
use std::fmt::Write as _;

use everprof_profile::report::is_standard;
use everprof_profile::report::units::percent;
use everprof_profile::trace::stacks::Shown;
use everprof_profile::trace::{Amount, Findings, Histogram, Site, Tables, View};
use serde_json::{Value, json};

use super::summary::{bytes, count, nanos};
use super::{TraceArgs, json_head};
use crate::commands::top::short;
use crate::error::Error;
use crate::output::{self, Format, Table};

/// What all stacks of one place have together.
#[derive(Default)]
struct Row {
    name: String,
    file: String,
    line: i64,
    allocated: Amount,
    in_use: Amount,
    temporary: Amount,
    reallocations: u64,
    moved: u64,
    copied_bytes: u64,
    longest_chain: u16,
    lifetimes: Histogram,
}

impl Row {
    fn add(&mut self, site: &Site) {
        add(&mut self.allocated, site.allocated);
        add(&mut self.in_use, site.in_use);
        add(&mut self.temporary, site.temporary);
        self.reallocations += site.reallocations;
        self.moved += site.moved;
        self.copied_bytes = self.copied_bytes.saturating_add(site.copied_bytes);
        self.longest_chain = self.longest_chain.max(site.longest_chain);
        self.lifetimes.merge(&site.lifetimes);
    }

    /// By what rows are sorted, the largest first; 0 is left out.
    fn weight(&self, view: View) -> (u64, u64) {
        match view {
            View::Temporaries => (self.temporary.objects, self.temporary.bytes),
            View::Lifetimes => (self.lifetimes.count(), self.in_use.objects),
            _ => (self.reallocations, self.copied_bytes),
        }
    }
}

fn add(sum: &mut Amount, more: Amount) {
    sum.objects += more.objects;
    sum.bytes = sum.bytes.saturating_add(more.bytes);
}

/// Writes one of them.
pub fn write(
    input: &str,
    tables: &Tables,
    findings: &Findings,
    shown: &Shown,
    view: View,
    args: &TraceArgs,
) -> Result<(), Error> {
    let rows = rows(findings, shown, view);
    let (head, word) = match view {
        View::Temporaries => (
            format!(
                "{} objects of {} were freed before their thread allocated again",
                count(findings.temporary.objects),
                count(findings.allocated.objects)
            ),
            "temporaries",
        ),
        View::Lifetimes => (
            format!(
                "how long objects lived; {} are in use at the end",
                count(findings.in_use.objects)
            ),
            "lifetimes",
        ),
        _ => (
            format!(
                "{} reallocations, {} moved, {} copied at most",
                count(findings.reallocations),
                count(findings.moved),
                bytes(findings.copied_bytes)
            ),
            "reallocs",
        ),
    };
    let head = output::printable(&format!("{input}: {head}"));
    let limit = args.limit();
    let (some, rest) = rows.split_at(limit.min(rows.len()));
    let mut tail = String::new();
    if !rest.is_empty() {
        let _ = writeln!(tail, "… {} more places (-n 0 shows all)", rest.len());
    }
    match args.format {
        Format::Text => {
            let table = table(some, view, tables).text(output::columns());
            output::print(&format!("{head}\n{table}{tail}"))
        }
        Format::Md => {
            let table = table(some, view, tables).markdown();
            let tail = if tail.is_empty() {
                tail
            } else {
                format!("\n{tail}")
            };
            output::print(&format!("{head}\n\n{table}{tail}"))
        }
        Format::Json => {
            let mut report = json_head(word, input, tables, findings);
            report["rows"] = some.iter().map(|row| to_json(row, view, tables)).collect();
            report["left_out"] = json!({ "places": rest.len() });
            output::print_json(&report)
        }
    }
}

fn rows(findings: &Findings, shown: &Shown, view: View) -> Vec<Row> {
    let mut by_place: HashMap<(&str, &str, i64), Row> = HashMap::new();
    for site in &findings.sites {
        let mut own = shown.frames(site.stack);
        let own = own.find(|frame| !is_standard(&frame.name));
        let place = own.or(shown.frames(site.stack).next());
        let (name, file, line) = match place {
            Some(frame) => (frame.name.as_str(), frame.file.as_str(), frame.line),
            None => ("", "", 0),
        };
        let row = by_place.entry((name, file, line)).or_default();
        row.add(site);
    }
    let mut rows: Vec<Row> = by_place
        .into_iter()
        .map(|((name, file, line), row)| Row {
            name: name.to_owned(),
            file: file.to_owned(),
            line,
            ..row
        })
        .filter(|row| row.weight(view).0 > 0)
        .collect();
    rows.sort_by(|a, b| {
        let order = b.weight(view).cmp(&a.weight(view));
        order.then_with(|| (&a.name, &a.file, a.line).cmp(&(&b.name, &b.file, b.line)))
    });
    rows
}

fn table(rows: &[Row], view: View, tables: &Tables) -> Table {
    let headings: &[&'static str] = match view {
        View::Temporaries => &["objects", "of all", "bytes", "name", "at"],
        View::Lifetimes => &[
            "ended", "half ≤", "90% ≤", "99% ≤", "longest", "in use", "name", "at",
        ],
        _ => &["times", "moved", "copied ≤", "in a row", "name", "at"],
    };
    let mut table = Table::new(headings, 2);
    let time = |units| nanos(tables.program().nanos_between(0, units));
    for row in rows {
        let lived = &row.lifetimes;
        let mut cells = match view {
            View::Temporaries => vec![
                count(row.temporary.objects),
                percent(share(row)),
                bytes(row.temporary.bytes),
            ],
            View::Lifetimes => vec![
                count(lived.count()),
                time(lived.percentile(50)),
                time(lived.percentile(90)),
                time(lived.percentile(99)),
                time(lived.most()),
                count(row.in_use.objects),
            ],
            _ => vec![
                count(row.reallocations),
                count(row.moved),
                bytes(row.copied_bytes),
                count(row.longest_chain.into()),
            ],
        };
        cells.push(row.name.clone());
        cells.push(match (short(&row.file), row.line) {
            ("", _) => String::new(),
            (file, 0) => file.to_owned(),
            (file, line) => format!("{file}:{line}"),
        });
        table.push(cells);
    }
    table.without_empty_columns()
}

fn share(row: &Row) -> f64 {
    row.temporary.objects as f64 / row.allocated.objects.max(1) as f64
}

fn to_json(row: &Row, view: View, tables: &Tables) -> Value {
    let time = |units| tables.program().nanos_between(0, units);
    let lived = &row.lifetimes;
    let mut out = match view {
        View::Temporaries => json!({
            "objects": row.temporary.objects,
            "bytes": row.temporary.bytes,
            "allocated": row.allocated.objects,
        }),
        View::Lifetimes => json!({
            "ended": lived.count(),
            "p50_nanos": time(lived.percentile(50)),
            "p90_nanos": time(lived.percentile(90)),
            "p99_nanos": time(lived.percentile(99)),
            "most_nanos": time(lived.most()),
            "in_use": row.in_use.objects,
            "histogram": lived
                .buckets()
                .map(|(most, count)| json!({ "most_nanos": time(most), "count": count }))
                .collect::<Vec<_>>(),
        }),
        _ => json!({
            "times": row.reallocations,
            "moved": row.moved,
            "copied_bytes": row.copied_bytes,
            "in_a_row": row.longest_chain,
        }),
    };
    out["name"] = row.name.clone().into();
    out["file"] = row.file.clone().into();
    out["line"] = row.line.into();
    out
}
