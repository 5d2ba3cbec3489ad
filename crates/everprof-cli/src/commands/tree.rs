//! `everprof tree`: who called whom, from the roots.

use everprof_profile::report::Selection;
use everprof_profile::report::tree::{Tree, tree};
use everprof_profile::report::units::{format, percent};
use serde_json::{Value, json};

use crate::args::ReportArgs;
use crate::error::Error;
use crate::input::Source;
use crate::output::{self, Format, Table};

/// Show who called whom, as a tree from the roots.
#[derive(Debug, clap::Args)]
pub struct TreeArgs {
    /// A file, a URL or `-`
    #[arg(value_name = "PROFILE")]
    source: Source,

    #[command(flatten)]
    report: ReportArgs,

    /// Leave out branches with less than this share of the total
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 0.5,
        value_parser = percentage,
        allow_negative_numbers = true
    )]
    min_percent: f64,

    /// Leave out what is deeper than so many calls
    #[arg(long, value_name = "N", default_value_t = u32::MAX, hide_default_value = true)]
    max_depth: u32,

    /// How many branches to show, the largest; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 80)]
    limit: usize,
}

fn percentage(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok();
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "expected a number from 0 to 100, such as 0.5".to_owned())
}

/// Reports.
pub fn main(args: &TreeArgs) -> Result<(), Error> {
    let selection = args.report.select.selection(&args.source)?;
    let limit = if args.limit == 0 {
        usize::MAX
    } else {
        args.limit
    };
    let mut tree = tree(&selection);
    tree.cut(&selection, args.min_percent / 100.0, args.max_depth, limit);
    let input = args.source.to_string();
    let head = output::head(&input, &selection);
    match args.report.format {
        Format::Json => output::print_json(&to_json(&input, &selection, &tree)),
        Format::Text => {
            let table = table(&selection, &tree).text(output::columns());
            output::print(&format!("{head}\n{table}"))
        }
        Format::Md => {
            // A table of Markdown would swallow the drawing's spaces.
            let table = table(&selection, &tree).text(None);
            let fence = "`".repeat(fence_length(&table));
            output::print(&format!("{head}\n\n{fence}text\n{table}{fence}\n"))
        }
    }
}

fn table(selection: &Selection, tree: &Tree) -> Table {
    let mut table = Table::new(&["cum", "±", "cum%", "flat", "name"], 1);
    let root = tree.node(0);
    let roots = root.children.len() + usize::from(root.cut.0 > 0);
    let children = |number: u32, prefix: &str, is_fork: bool| -> Vec<Pending> {
        let node = tree.node(number);
        let cut = (node.cut.0 > 0).then_some(Pending {
            what: What::Cut(number),
            own: format!("{prefix}{}", if is_fork { "└─ " } else { "" }),
            below: String::new(),
        });
        let last = node.children.len() - usize::from(cut.is_none()).min(node.children.len());
        // The last one comes first: they are taken from the end.
        let nodes = node.children.iter().enumerate().rev().map(|(n, &child)| {
            let (own, below) = match (is_fork, n == last) {
                (false, _) => ("", ""),
                (true, true) => ("└─ ", "   "),
                (true, false) => ("├─ ", "│  "),
            };
            Pending {
                what: What::Node(child),
                own: format!("{prefix}{own}"),
                below: format!("{prefix}{below}"),
            }
        });
        cut.into_iter().chain(nodes).collect()
    };
    let mut pending = children(0, "", roots > 1);
    while let Some(next) = pending.pop() {
        let number = match next.what {
            What::Node(number) => number,
            What::Cut(number) => {
                let (branches, value) = tree.node(number).cut;
                table.push(vec![
                    format(value, &selection.unit),
                    String::new(),
                    percent(selection.share(value)),
                    String::new(),
                    format!("{}… {branches} more", next.own),
                ]);
                continue;
            }
        };
        let node = tree.node(number);
        table.push(vec![
            format(node.cum.value, &selection.unit),
            output::bar(selection.has_error_bars, &selection.unit, &node.cum),
            percent(selection.share(node.cum.value)),
            match node.flat.value {
                0 => String::new(),
                flat => format(flat, &selection.unit),
            },
            format!("{}{}", next.own, selection.function(node.function).name),
        ]);
        // A chain of calls stays in its column: stacks are deep, and only forks matter.
        let is_fork = node.children.len() + usize::from(node.cut.0 > 0) > 1;
        pending.extend(children(number, &next.below, is_fork));
    }
    table.without_empty_columns()
}

/// A line that is still to be drawn.
struct Pending {
    what: What,
    /// What stands before its name.
    own: String,
    /// What stands before the names of its children.
    below: String,
}

enum What {
    Node(u32),
    /// The branches of that node that were cut.
    Cut(u32),
}

/// A fence longer than any run of backticks in the text.
fn fence_length(text: &str) -> usize {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    (longest + 1).max(3)
}

/// Nodes in a flat list, each after its parent: stacks are deeper than what many readers
/// of JSON take.
fn to_json(input: &str, selection: &Selection, tree: &Tree) -> Value {
    let order = tree.walk();
    let mut place = std::collections::HashMap::new();
    let mut parents = std::collections::HashMap::new();
    let mut nodes = Vec::new();
    for number in order {
        let node = tree.node(number);
        place.insert(number, nodes.len());
        for &child in &node.children {
            parents.insert(child, number);
        }
        let function = (number != 0).then(|| selection.function(node.function));
        nodes.push(json!({
            "parent": parents.get(&number).map(|parent| place[parent]),
            "depth": node.depth,
            "name": function.map(|function| &function.name),
            "file": function.map_or("", |function| &function.file),
            "flat": output::json_estimate(selection.has_error_bars, &node.flat),
            "cum": output::json_estimate(selection.has_error_bars, &node.cum),
            "cum_share": selection.share(node.cum.value),
            "left_out": { "branches": node.cut.0, "cum": node.cut.1 },
        }));
    }
    let mut report = output::json_head("tree", input, selection);
    report["nodes"] = nodes.into();
    report
}
