//! `cargo xtask aarch64`, `cargo xtask musl`: the tests on the other platforms.
//!
//! qemu's user emulation (7.2) accepts MADV_WIPEONFORK and does not do it. No
//! program can find that out without a fork, so the tests are told: with
//! `everprof_no_wipe` the guard goes by the process id, as on kernels before
//! 4.14, and all else that they say about forks is tested on that way.
//!
//! Nor can a thread be looked at from outside there: its registers in /proc are the emulator's.
//! Tests that dump threads are left out by `everprof_emulated`.

use crate::report::{Outcome, Report};
use crate::{tools, workspace};

/// The crates that stand on the platform; agent and CLI need a real one.
const PACKAGES: &[&str] = &["everprof-core", "everprof-profile", "everprof"];

/// Builds for aarch64 and runs the tests under qemu's user emulation.
pub fn aarch64(report: &mut Report, _: &[String]) -> Outcome {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    tools::need_rust("stable", &[], &[TARGET])?;
    tools::need("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")?;
    tools::need("qemu-aarch64-static", "qemu-user-static")?;
    const RUNNER: &str = "qemu-aarch64-static -L /usr/aarch64-linux-gnu";
    let variables = [
        ("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc"),
        (
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            "aarch64-linux-gnu-gcc",
        ),
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", RUNNER),
        // For tests that start themselves.
        ("EVERPROF_TEST_RUNNER", RUNNER),
        (
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "--cfg everprof_no_wipe --cfg everprof_emulated",
        ),
    ];
    run(report, TARGET, &variables)
}

/// Builds static musl programs and runs their tests.
pub fn musl(report: &mut Report, _: &[String]) -> Outcome {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    tools::need_rust("stable", &[], &[&target])?;
    run(report, &target, &[])
}

fn run(report: &mut Report, target: &str, variables: &[(&str, &str)]) -> Outcome {
    let go = tools::go()?;
    for package in PACKAGES {
        let mut cargo = workspace::cargo_of("stable");
        cargo.args(["test", "--no-fail-fast", "-p", package, "--lib", "--tests"]);
        cargo
            .args(["--target", target])
            .envs(variables.iter().copied());
        cargo.env("EVERPROF_GO", &go);
        cargo.env("CARGO_TARGET_DIR", workspace::target_for(target));
        report.test(&format!("{package} on {target}"), &mut cargo);
    }
    Ok(())
}
