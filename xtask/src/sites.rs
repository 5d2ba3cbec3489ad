//! `cargo xtask sites`: every primitive's call site is in the block profile, by its name.
//!
//! `testprograms/sites` waits in each, in a function of its own. It is built as many release
//! builds are, and with fat LTO and no debug information, the least that a profile can
//! tell names from; once knowing everprof, and once unmodified under `everprof run`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::report::{Outcome, Report};
use crate::workspace;

/// What `check_sites` calls a build, which is cargo's profile, too.
const BUILDS: [&str; 2] = ["release", "fat"];

/// Builds, runs and checks them all.
pub fn run(report: &mut Report, _: &[String]) -> Outcome {
    let target = workspace::target_for("sites");
    report.step(
        "the program that looks into profiles",
        &mut cargo(&target, "release", "check_sites", "check"),
    );
    let check = target.join("release/check_sites");
    let mut cli = workspace::cargo_of("stable");
    cli.args(["build", "--quiet", "-p", "everprof-cli"]);
    report.step("the command everprof", cli.env("CARGO_TARGET_DIR", &target));
    let everprof = target.join("debug/everprof");
    for build in BUILDS {
        let program = target.join(build).join("sites");
        let profile = target.join(build).join("block.pb.gz");
        report.step(
            &format!("{build}, linked"),
            &mut cargo(&target, build, "sites", "linked"),
        );
        report.step("it waits", Command::new(&program).arg(&profile));
        checked(report, &check, &profile, build);

        report.step(
            &format!("{build}, unmodified"),
            &mut cargo(&target, build, "sites", ""),
        );
        let output = target.join(build).join("run");
        // What a run before has left, if there was one.
        let _ = fs::remove_dir_all(&output);
        let mut run = Command::new(&everprof);
        run.arg("run").arg("-o").arg(&output).arg("--");
        report.step(
            "it waits under `everprof run`",
            run.arg(&program).env("EVERPROF", "block=1ns"),
        );
        checked(report, &check, &output.join("block.pb.gz"), build);
    }
    Ok(())
}

fn checked(report: &mut Report, check: &Path, profile: &Path, build: &str) {
    let name = format!("every site is found: {build}");
    report.step(&name, Command::new(check).arg(profile).arg(build));
}

fn cargo(target: &Path, build: &str, program: &str, features: &str) -> Command {
    let mut cargo = workspace::cargo_alone("build", "sites", target);
    cargo.args(["--profile", build, "--bin", program, "--features", features]);
    cargo
}
