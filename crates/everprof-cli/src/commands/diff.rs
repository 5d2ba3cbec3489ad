//! `everprof diff`: what grew between two profiles, and whether that is chance.

use std::fmt::Write as _;

use everprof_profile::errorbars::Estimate;
use everprof_profile::report::Selection;
use everprof_profile::report::diff::{Change, Diff, Site, diff};
use everprof_profile::report::units::{format, format_signed};
use serde_json::{Value, json};

use crate::args::ReportArgs;
use crate::error::Error;
use crate::input::Source;
use crate::output::{self, Format, Table};

/// Show what grew from one profile to another, and whether that is more than chance.
///
/// A growth is called significant when sampling alone would yield it in fewer than one of
/// 20 reports, whatever the number of functions compared.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The earlier profile: a file, a URL or `-`
    #[arg(value_name = "BEFORE")]
    before: Source,

    /// The later profile
    #[arg(value_name = "AFTER")]
    after: Source,

    #[command(flatten)]
    report: ReportArgs,

    /// What is compared
    #[arg(long, value_enum, default_value_t)]
    by: By,

    /// How many to show; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,

    /// Show what is significant only
    #[arg(long)]
    significant: bool,
}

/// What a row of the report is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// A function, itself
    #[default]
    Flat,
    /// A function and all that it called
    Cum,
    /// A whole stack
    Stack,
}

/// Reports.
pub fn main(args: &DiffArgs) -> Result<(), Error> {
    if (&args.before, &args.after) == (&Source::Stdin, &Source::Stdin) {
        return Err(
            Error::new("`-` and `-`: standard input holds one profile, expected two")
                .hint("everprof diff before.pb.gz -"),
        );
    }
    let before = args.report.select.selection(&args.before)?;
    let after = args.report.select.selection(&args.after)?;
    let site = match args.by {
        By::Flat => Site::Flat,
        By::Cum => Site::Cum,
        By::Stack => Site::Stack,
    };
    let limit = if args.limit == 0 {
        usize::MAX
    } else {
        args.limit
    };
    let mut diff = diff(&before, &after, site, usize::MAX)?;
    if args.significant {
        diff.retain(|change| change.is_significant);
    }
    diff.limit(limit);
    let inputs = [args.before.to_string(), args.after.to_string()];
    match args.report.format {
        Format::Json => output::print_json(&to_json(&inputs, &after, &diff)),
        Format::Text => {
            let table = table(&after, &diff).text(output::columns());
            let head = head(&inputs, &before, &after, &diff);
            output::print(&format!("{head}{table}{}", rest(&after, &diff)))
        }
        Format::Md => {
            let table = table(&after, &diff).markdown();
            let head = head(&inputs, &before, &after, &diff).replace('\n', "  \n");
            output::print(&format!("{head}\n{table}\n{}", rest(&after, &diff)))
        }
    }
}

fn head(inputs: &[String; 2], before: &Selection, after: &Selection, diff: &Diff) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "before  {}", output::head(&inputs[0], before));
    let _ = writeln!(out, "after   {}", output::head(&inputs[1], after));
    let total = &diff.total;
    let verdict = verdict(diff, total);
    let _ = writeln!(
        out,
        "growth  {} {}{}",
        format_signed(total.growth.value, &after.unit),
        output::bar(diff.has_error_bars, &after.unit, &total.growth),
        if verdict.is_empty() {
            String::new()
        } else {
            format!("  {verdict}")
        },
    );
    out
}

fn table(selection: &Selection, diff: &Diff) -> Table {
    let mut table = Table::new(&["growth", "±", "before", "after", "verdict", "name"], 2);
    for row in &diff.rows {
        let change = &row.change;
        table.push(vec![
            format_signed(change.growth.value, &selection.unit),
            output::bar(diff.has_error_bars, &selection.unit, &change.growth),
            format(change.before.value, &selection.unit),
            format(change.after.value, &selection.unit),
            verdict(diff, change).to_owned(),
            // Leaf first: what allocated stands where the eye begins.
            row.site
                .iter()
                .rev()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" < "),
        ]);
    }
    table.without_empty_columns()
}

fn verdict(diff: &Diff, change: &Change) -> &'static str {
    match (
        diff.has_error_bars,
        change.growth.value,
        change.is_significant,
    ) {
        (false, ..) => "",
        (true, 0, _) => "same",
        (true, _, true) => "significant",
        (true, _, false) => "noise",
    }
}

fn rest(selection: &Selection, diff: &Diff) -> String {
    let mut out = String::new();
    if let (sites @ 1.., growth) = diff.left_out {
        let growth = format_signed(growth, &selection.unit);
        let _ = writeln!(out, "… {sites} more that changed, {growth} together");
    }
    if !diff.has_error_bars {
        out.push_str("no verdicts: a profile does not say how it was sampled\n");
    }
    out
}

fn to_json(inputs: &[String; 2], selection: &Selection, diff: &Diff) -> Value {
    let estimate = |estimate: &Estimate| output::json_estimate(diff.has_error_bars, estimate);
    let change = |change: &Change| {
        json!({
            "before": estimate(&change.before),
            "after": estimate(&change.after),
            "growth": estimate(&change.growth),
            "significant": diff.has_error_bars.then_some(change.is_significant),
        })
    };
    let rows: Vec<Value> = diff
        .rows
        .iter()
        .map(|row| {
            let mut value = change(&row.change);
            value["stack"] = row.site.iter().rev().cloned().collect::<Vec<_>>().into();
            value
        })
        .collect();
    json!({
        "report": "diff",
        "before": inputs[0],
        "after": inputs[1],
        "sample_type": selection.kind,
        "unit": selection.unit,
        "total": change(&diff.total),
        "compared": diff.comparisons,
        "rows": rows,
        "left_out": { "sites": diff.left_out.0, "growth": diff.left_out.1 },
    })
}
