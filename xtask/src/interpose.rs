//! `cargo xtask interpose`: waits are seen however a program is built.
//!
//! `testprograms/waits` makes every primitive of std, parking_lot, crossbeam, flume and
//! rayon wait. What decides whether its calls come to everprof's definitions is the linker,
//! so the program is linked in every way that people link.

use std::process::Command;

use crate::report::{Outcome, Report};
use crate::{tools, workspace};

/// A build: what it is called, its profile, flags of rustc, other arguments of cargo.
type Build = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const BUILDS: &[Build] = &[
    ("debug", "dev", "", &[]),
    ("release", "release", "", &[]),
    ("thin LTO", "thin", "", &[]),
    ("fat LTO", "fat", "", &[]),
    ("fat LTO, panic=abort", "abort", "", &[]),
    ("debug, C's linker", "dev", OTHER_LINKER, &[]),
    ("fat LTO, C's linker", "fat", OTHER_LINKER, &[]),
    (
        "static glibc",
        "release",
        "-Ctarget-feature=+crt-static",
        &[],
    ),
];

/// On x86-64 rustc links with its own lld unless told not to; elsewhere it is the
/// other way round, and there is nothing to switch off.
const OTHER_LINKER: &str = if cfg!(target_arch = "x86_64") {
    "-Clinker-features=-lld"
} else {
    ""
};

/// Leaves out what takes another target than the machine's own.
pub const HERE: &str = "--here";

/// Builds and runs them all, and one that must fail.
pub fn run(report: &mut Report, words: &[String]) -> Outcome {
    let host = workspace::host()?;
    for &(name, profile, flags, arguments) in BUILDS {
        let mut cargo = cargo(&host, profile, flags);
        report.step(&format!("waits are seen: {name}"), cargo.args(arguments));
    }
    if words.iter().all(|word| word != HERE) {
        let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        tools::need_rust("stable", &[], &[&musl])?;
        for profile in ["dev", "fat"] {
            let name = format!("waits are seen: static musl, {profile}");
            report.step(&name, &mut cargo(&musl, profile, ""));
        }
    }
    let mut without = cargo(&host, "dev", "");
    without.arg("--no-default-features");
    let output = without
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() || !said.contains("not seen") {
        return Err(format!("without the feature, waits are seen: {said}"));
    }
    Ok(())
}

fn cargo(target: &str, profile: &str, flags: &str) -> Command {
    let mut cargo = workspace::cargo_alone("run", "waits", &workspace::target_for("waits"));
    cargo.args(["--target", target, "--profile", profile]);
    cargo.env("RUSTFLAGS", flags);
    cargo
}
