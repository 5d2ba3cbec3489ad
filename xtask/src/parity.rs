//! `cargo xtask parity [--check]`: docs/parity.md, what of the origin is where here.
//!
//! The rows stand in [`rows`]. Each names items of the code and tests that show them;
//! the page links both. An item that is not declared where its row says, or a test that
//! is not there, is an error, so that the page cannot outlive what it tells of.

mod rows;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::report::{Outcome, Report};
use crate::workspace;
use rows::{Item, ROWS, Row, Test};

const PAGE: &str = "docs/parity.md";

/// Checks every row, then writes the page, or with `--check` compares it.
pub fn run(report: &mut Report, words: &[String]) -> Outcome {
    report.section("parity with the origin");
    let root = workspace::root();
    for row in ROWS {
        for wrong in wrongs(row, &root) {
            report.fail("parity", &format!("{}: {wrong}", row.origin));
        }
    }
    let page = page();
    let path = root.join(PAGE);
    if words.iter().any(|word| word == "--check") {
        if fs::read_to_string(&path).is_ok_and(|there| there == page) {
            return Ok(());
        }
        return Err(format!(
            "{PAGE} is not as its rows say: run `cargo xtask parity`"
        ));
    }
    fs::write(&path, page).map_err(|error| format!("{PAGE}: {error}"))
}

/// What of a row is not as it says.
fn wrongs(row: &Row, root: &Path) -> Vec<String> {
    let mut wrongs = Vec::new();
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    for Item { file, declared, .. } in row.items {
        if !read(file).contains(declared) {
            wrongs.push(format!("{file} does not declare `{declared}`"));
        }
    }
    for Test { file, name } in row.tests {
        if !has_test(&read(file), name) {
            wrongs.push(format!("{file} has no test `{name}`"));
        }
    }
    if row.tests.is_empty() {
        wrongs.push("no test shows it".to_owned());
    }
    wrongs
}

/// Whether a file has a function of this name that is a test.
fn has_test(text: &str, name: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else {
        return false;
    };
    // Attributes and comments stand between the mark and the function.
    before
        .lines()
        .rev()
        .take_while(|line| !line.trim_start().starts_with('}'))
        .any(|line| line.trim() == "#[test]")
}

fn page() -> String {
    let mut page = String::from(
        "# What of Go's profilers is where here?\n\n\
         Everything that the origin, Go's `runtime/mprof.go`, and the packages over it do, by \
         its name there,\nits name here, and the tests that show it. `cargo xtask parity` \
         writes this page and checks that\nevery item and every test exists.\n\n\
         | Go | everprof | shown by |\n|---|---|---|\n",
    );
    for row in ROWS {
        let items = row.items.iter().map(|item| link(item.shown, item.file));
        let tests = row.tests.iter();
        let tests = tests.map(|test| link(&format!("`{}`", test.name), test.file));
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            row.origin,
            joined(items),
            joined(tests)
        );
    }
    page
}

fn link(text: &str, file: &str) -> String {
    format!("[{text}](../{file})")
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_a_function_that_is_marked_as_one() {
        let text = "#[test]\n// Why.\n#[cfg(unix)]\nfn shows_it() {\n}\n\nfn helper() {\n}\n";
        assert!(has_test(text, "shows_it"));
        assert!(!has_test(text, "helper") && !has_test(text, "shows"));
    }

    #[test]
    fn what_is_gone_is_told() {
        let row = Row {
            origin: "X",
            items: &[Item {
                shown: "`x`",
                file: "xtask/src/parity.rs",
                declared: "pub fn no_such_item_is_here\u{28}",
            }],
            tests: &[Test {
                file: "xtask/src/parity.rs",
                name: "no_such_test",
            }],
        };
        assert_eq!(wrongs(&row, &workspace::root()).len(), 2);
    }
}
