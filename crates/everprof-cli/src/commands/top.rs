//! `everprof top`: the functions on which most stands.

use std::fmt::Write as _;

use everprof_profile::errorbars::Estimate;
use everprof_profile::report::Selection;
use everprof_profile::report::top::{Order, Row, Top, top};
use everprof_profile::report::units::{format, percent};
use serde_json::{Value, json};

use crate::args::ReportArgs;
use crate::error::Error;
use crate::input::Source;
use crate::output::{self, Format, Table};

/// Show the functions that hold or allocated most.
///
/// flat is what a function allocated itself, cum includes all that it called; ± is how far
/// a figure may be off because of sampling, 19 times in 20.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// A file, a URL or `-`
    #[arg(value_name = "PROFILE")]
    source: Source,

    #[command(flatten)]
    report: ReportArgs,

    /// Sort by cum instead of flat
    #[arg(long)]
    cum: bool,

    /// How many functions to show; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Reports.
pub fn main(args: &TopArgs) -> Result<(), Error> {
    let selection = args.report.select.selection(&args.source)?;
    let order = if args.cum { Order::Cum } else { Order::Flat };
    let limit = if args.limit == 0 {
        usize::MAX
    } else {
        args.limit
    };
    let top = top(&selection, order, limit);
    let input = args.source.to_string();
    report(args.report.format, &input, &selection, &top, order)
}

/// Writes the report to standard output.
pub fn report(
    format: Format,
    input: &str,
    selection: &Selection,
    top: &Top,
    order: Order,
) -> Result<(), Error> {
    match format {
        Format::Text => output::print(&text(input, selection, top, order, output::columns())),
        Format::Json => output::print_json(&to_json(input, selection, top)),
        Format::Md => output::print(&markdown(input, selection, top, order)),
    }
}

/// The report as columns, at most that wide.
pub fn text(
    input: &str,
    selection: &Selection,
    top: &Top,
    order: Order,
    columns: Option<usize>,
) -> String {
    let mut out = output::head(input, selection);
    out.push('\n');
    out.push_str(&table(selection, top, order).text(columns));
    out.push_str(&rest(selection, top));
    out
}

fn markdown(input: &str, selection: &Selection, top: &Top, order: Order) -> String {
    format!(
        "{}\n\n{}{}",
        output::head(input, selection),
        table(selection, top, order).markdown(),
        match rest(selection, top) {
            rest if rest.is_empty() => rest,
            rest => format!("\n{rest}"),
        }
    )
}

fn table(selection: &Selection, top: &Top, order: Order) -> Table {
    let mut table = Table::new(
        match order {
            Order::Flat => &["flat", "±", "flat%", "cum", "cum%", "name", "at"],
            Order::Cum => &["cum", "±", "cum%", "flat", "flat%", "name", "at"],
        },
        2,
    );
    for row in &top.rows {
        let (first, second) = match order {
            Order::Flat => (&row.flat, &row.cum),
            Order::Cum => (&row.cum, &row.flat),
        };
        table.push(vec![
            format(first.value, &selection.unit),
            output::bar(selection.has_error_bars, &selection.unit, first),
            percent(selection.share(first.value)),
            format(second.value, &selection.unit),
            percent(selection.share(second.value)),
            selection.function(row.function).name.clone(),
            place(selection, row),
        ]);
    }
    table.without_empty_columns()
}

fn rest(selection: &Selection, top: &Top) -> String {
    let mut out = String::new();
    if let (functions @ 1.., flat) = top.left_out {
        let flat = format(flat, &selection.unit);
        let _ = writeln!(
            out,
            "… {functions} more functions with {flat} flat (-n 0 shows all)"
        );
    }
    out
}

/// `file:line`, as much of it as is known.
fn place(selection: &Selection, row: &Row) -> String {
    let function = selection.function(row.function);
    let line = i64::from(row.line).max(function.start_line.min(1));
    match (short(&function.file), line) {
        ("", _) => String::new(),
        (file, 0) => file.to_owned(),
        (file, line) => format!("{file}:{line}"),
    }
}

/// A source file without the places that say nothing: where the compiler keeps std, where
/// cargo keeps crates.
pub fn short(file: &str) -> &str {
    let after = |mark: &str| file.split_once(mark).map(|(_, rest)| rest);
    match file {
        _ if file.starts_with("/rustc/") => after("/library/").unwrap_or(file),
        _ if file.starts_with("/rust/deps/") => after("/rust/deps/").unwrap_or(file),
        _ => after("/registry/src/")
            .and_then(|rest| rest.split_once('/'))
            .map_or(file, |(_, rest)| rest),
    }
}

fn to_json(input: &str, selection: &Selection, top: &Top) -> Value {
    let estimate = |estimate: &Estimate| output::json_estimate(selection.has_error_bars, estimate);
    let rows: Vec<Value> = top
        .rows
        .iter()
        .map(|row| {
            let function = selection.function(row.function);
            json!({
                "name": function.name,
                "file": function.file,
                "line": row.line,
                "flat": estimate(&row.flat),
                "flat_share": selection.share(row.flat.value),
                "cum": estimate(&row.cum),
                "cum_share": selection.share(row.cum.value),
            })
        })
        .collect();
    let mut report = output::json_head("top", input, selection);
    report["rows"] = rows.into();
    report["left_out"] = json!({ "functions": top.left_out.0, "flat": top.left_out.1 });
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lose_what_says_nothing() {
        for (file, shown) in [
            (
                "/rustc/59807616e1/library/alloc/src/vec/mod.rs",
                "alloc/src/vec/mod.rs",
            ),
            (
                "/rust/deps/hashbrown-0.16.1/src/raw/alloc.rs",
                "hashbrown-0.16.1/src/raw/alloc.rs",
            ),
            (
                "/root/.cargo/registry/src/index-1949cf8c/serde-1.0.1/src/lib.rs",
                "serde-1.0.1/src/lib.rs",
            ),
            ("/home/me/app/src/main.rs", "/home/me/app/src/main.rs"),
            ("", ""),
        ] {
            assert_eq!(short(file), shown);
        }
    }
}
