//! `cargo xtask tasks`: what profiles tell of tasks, proven on programs that know of none.
//!
//! `testprograms/tasks` waits in whatever tokio, futures and smol have to wait in, polls the same
//! watched and unwatched, loses nothing while dumps are taken, and leaks in the ways that
//! programs do. Await stacks depend on what the compiler has inlined, and their names on what
//! debug information there is: so those are looked at in each build that people make.
//!
//! `testprograms/schedules` has watched futures polled and woken in thousands of orders, which
//! shuttle chooses.

use crate::report::{Outcome, Report};
use crate::workspace;

/// Cargo's profile, and whether it has lines.
const BUILDS: [(&str, bool); 7] = [
    ("dev", true),
    ("release", true),
    ("release-names", false),
    ("thin", true),
    ("thin-names", false),
    ("fat", true),
    ("fat-names", false),
];

/// `cargo xtask tasks --here`: what `cargo xtask ci` runs.
pub const HERE: &str = "--here";

/// Builds and runs all of it; with `--here`, without the builds that take long.
pub fn run(report: &mut Report, words: &[String]) -> Outcome {
    let is_short = words.iter().any(|word| word == HERE);
    for (build, has_lines) in BUILDS {
        if is_short && build != "dev" && build != "release-names" {
            continue;
        }
        let mut cargo = cargo(build, &["--test", "leaves"]);
        if !has_lines {
            cargo.env("TASKS_WITHOUT_LINES", "1");
        }
        report.test(&format!("every wait is seen: {build}"), &mut cargo);
    }
    let rest = ["--test", "alike", "--test", "flood", "--test", "leaks"];
    report.test("tasks are as they were unwatched", &mut cargo("dev", &rest));
    if !is_short {
        let mut flood = cargo("release", &["--test", "flood"]);
        report.test("nothing is lost: release", &mut flood);
    }
    let target = workspace::target_for("schedules");
    let mut schedules = workspace::cargo_alone("test", "schedules", &target);
    report.test("tasks are as they were in every order", &mut schedules);
    Ok(())
}

fn cargo(build: &str, words: &[&str]) -> std::process::Command {
    let mut cargo = workspace::cargo_alone("test", "tasks", &workspace::target_for("tasks"));
    cargo.args(["--profile", build]).args(words);
    cargo
}
