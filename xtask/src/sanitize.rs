//! `cargo xtask asan`, `cargo xtask tsan`: the integration tests, instrumented.
//!
//! ThreadSanitizer wants std instrumented too, or it takes std's own
//! synchronisation for races: hence `-Zbuild-std`. A target is named although
//! it is the host's, so that build scripts and macros stay plain.
//!
//! `cfg(sanitize)` is not stable: tests that cannot run under one of them ask for
//! `everprof_sanitizer` and say why.

use crate::report::{Outcome, Report};
use crate::{tools, workspace};

/// Runs the tests under AddressSanitizer.
pub fn address(report: &mut Report, _: &[String]) -> Outcome {
    tools::need_rust("nightly", &["rust-src"], &[])?;
    run(
        report,
        "address",
        &[],
        &[("ASAN_OPTIONS", "detect_stack_use_after_return=1")],
    )
}

/// Runs the tests under ThreadSanitizer.
pub fn thread(report: &mut Report, _: &[String]) -> Outcome {
    tools::need_rust("nightly", &["rust-src"], &[])?;
    run(
        report,
        "thread",
        &["-Zbuild-std"],
        // Tests start threads in a fork's child.
        &[("TSAN_OPTIONS", "halt_on_error=1:die_after_fork=0")],
    )
}

fn run(report: &mut Report, name: &str, extra: &[&str], options: &[(&str, &str)]) -> Outcome {
    let go = tools::go()?;
    let host = workspace::host()?;
    for package in ["everprof-core", "everprof"] {
        let mut cargo = workspace::cargo_of("nightly");
        cargo.args(["test", "--no-fail-fast", "-p", package, "--lib", "--tests"]);
        if package == "everprof" {
            // Without `interpose`: a sanitizer sees joins and reads by definitions of its own
            // in the same executable, which ours would displace and not go on to.
            cargo.args(["--no-default-features", "--features=environment"]);
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
