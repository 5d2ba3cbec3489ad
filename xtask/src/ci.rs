//! `cargo xtask ci`: everything that must hold for a change to land.

use crate::report::{Outcome, Report};
use crate::{fast_path, interpose, loom, parity, sites, tasks, test, workspace};

/// Runs the checks, then the tests, then the models. Goes on after a failure.
pub fn run(report: &mut Report, _: &[String]) -> Outcome {
    report.step(
        "formatting",
        workspace::cargo().args(["fmt", "--all", "--check"]),
    );
    for package in workspace::packages()? {
        let name = package.name.as_str();
        for choice in package.powerset() {
            let mut clippy = workspace::cargo();
            clippy
                .args(["clippy", "--all-targets", "-p", name])
                .args(&choice);
            clippy.args(["--", "-D", "warnings"]);
            report.step(&format!("clippy {name} {}", choice.join(" ")), &mut clippy);
        }
    }
    for package in workspace::packages()? {
        let mut doc = workspace::cargo();
        doc.args(["doc", "--no-deps", "--all-features", "-p", &package.name]);
        // The others' documentation is for those who work on them, and tells of
        // private items.
        let is_public = ["everprof", "everprof-profile"].contains(&package.name.as_str());
        let private = if is_public {
            ""
        } else {
            " -Arustdoc::private_intra_doc_links"
        };
        doc.env("RUSTDOCFLAGS", format!("-Dwarnings{private}"));
        report.step(&format!("documentation of {}", package.name), &mut doc);
    }
    let mut chore =
        |name: &str, outcome: fn(&mut Report, &[String]) -> Outcome, word: &[String]| {
            if let Err(error) = outcome(report, word) {
                report.fail(name, &error);
            }
        };
    chore("parity", parity::run, &["--check".to_owned()]);
    chore("test", test::run, &[]);
    // The job `musl` of ci/matrix.yml has the other target.
    chore("interpose", interpose::run, &[interpose::HERE.to_owned()]);
    chore("sites", sites::run, &[]);
    chore("tasks", tasks::run, &[tasks::HERE.to_owned()]);
    chore("loom", loom::run, &[]);
    chore("fast-path", fast_path::run, &["--check".to_owned()]);
    Ok(())
}
