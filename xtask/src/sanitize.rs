//! `cargo xtask asan`, `cargo xtask tsan`: the tests, instrumented.
//!
//! ThreadSanitizer wants std instrumented too, or it takes std's own
//! synchronisation for races: hence `-Zbuild-std`. A target is named although
//! it is the host's, so that build scripts and macros stay plain.
//!
//! `cfg(sanitize)` is not stable: tests that cannot run under one of them ask for
//! `everprof_sanitizer` and say why. docs/checkers.md counts them.
//!
//! All is built without `interpose`: a sanitizer sees joins and reads by definitions of
//! its own in the same executable, which ours would displace and not go on to.

use crate::report::{Outcome, Report};
use crate::{tools, workspace};

/// What cargo is told to test: a package, its features, and which of its targets.
type Part = (&'static str, Option<&'static str>, &'static [&'static str]);

const TESTS: &[Part] = &[
    ("everprof-core", None, &["--lib", "--tests"]),
    ("everprof", Some("environment"), &["--lib", "--tests"]),
];
const HOSTILE: Part = ("testprograms", Some("linked"), &["--test", "hostile"]);

/// Runs the tests, and the hostile programs, under AddressSanitizer.
pub fn address(report: &mut Report, _: &[String]) -> Outcome {
    tools::need_rust("nightly", &["rust-src"], &[])?;
    let options = "detect_stack_use_after_return=1";
    run(report, "address", TESTS, &[], &[("ASAN_OPTIONS", options)])?;
    // They end with threads of ours at work, and what only those hold looks lost; and one asks for
    // more memory than there is, which is an error to the sanitizer unless it is told.
    let options = format!("{options}:detect_leaks=0:allocator_may_return_null=1");
    let options = [("ASAN_OPTIONS", options.as_str())];
    run(report, "address", &[HOSTILE], &[], &options)
}

/// Runs the tests under ThreadSanitizer.
pub fn thread(report: &mut Report, _: &[String]) -> Outcome {
    tools::need_rust("nightly", &["rust-src"], &[])?;
    // Tests start threads in a fork's child.
    let options = [("TSAN_OPTIONS", "halt_on_error=1:die_after_fork=0")];
    run(report, "thread", TESTS, &["-Zbuild-std"], &options)
}

fn run<'p>(
    report: &mut Report,
    name: &str,
    parts: impl IntoIterator<Item = &'p Part>,
    extra: &[&str],
    options: &[(&str, &str)],
) -> Outcome {
    let go = tools::go()?;
    let host = workspace::host()?;
    for (package, features, targets) in parts {
        let mut cargo = workspace::cargo_of("nightly");
        cargo.args(["test", "--no-fail-fast", "-p", package]);
        cargo.args(*targets);
        if let Some(features) = features {
            cargo.args(["--no-default-features", "--features", features]);
        }
        cargo.args(["--target", &host]).args(extra);
        cargo
            .env(
                "RUSTFLAGS",
                format!("-Zsanitizer={name} --cfg everprof_sanitizer=\"{name}\""),
            )
            .env("EVERPROF_GO", &go);
        cargo.env("CARGO_TARGET_DIR", workspace::target_for(name));
        cargo.envs(options.iter().copied());
        report.test(&format!("{package} under the {name} sanitizer"), &mut cargo);
    }
    Ok(())
}
