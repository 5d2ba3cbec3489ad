//! `cargo xtask aarch64`, `cargo xtask musl`: the tests on the other platforms.
//!
//! qemu's user emulation (7.2) accepts MADV_WIPEONFORK and does not do it. No
//! program can find that out without a fork, so the tests are told: with
//! `everprof_no_wipe` the guard goes by the process id, as on kernels before
//! 4.14, and all else that they say about forks is tested on that way.
//!
//! Nor can a thread be looked at from outside there: its registers in /proc are the emulator's.
//! Tests of what such a look shows are left out by `everprof_emulated`, which has memory read
//! through a file, too, where the emulator lacks a system call.
//!
//! Core has no default features: what the façade asks of it is named here.

use crate::report::{Outcome, Report};
use crate::{tools, workspace};

/// What cargo is told to test: a package, features beyond its defaults, and which of its targets.
type Part = (&'static str, &'static str, &'static [&'static str]);

/// The crates that stand on the platform; agent and CLI need a real one.
const TESTS: &[Part] = &[
    ("everprof-core", "interpose", &["--lib", "--tests"]),
    ("everprof-profile", "", &["--lib", "--tests"]),
    ("everprof", "axum,tokio", &["--lib", "--tests"]),
];
/// What is otherwise in core for the agent: C's locks, and where threads' state stands.
const PRELOADED: Part = (
    "everprof-core",
    "interpose,preload",
    &["--lib", "--test", "interpose_locks"],
);

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
        // A fork's child may wait for ever for a lock of the emulator's that another of its
        // parent's threads had: one of two runs of `interpose_syscall` did.
        ("RUST_TEST_THREADS", "1"),
        (
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "--cfg everprof_no_wipe --cfg everprof_emulated",
        ),
    ];
    run(report, TARGET, &variables, TESTS)?;
    run(report, TARGET, &variables, &[PRELOADED])
}

/// Builds static musl programs and runs their tests.
pub fn musl(report: &mut Report, _: &[String]) -> Outcome {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    tools::need_rust("stable", &[], &[&target])?;
    run(report, &target, &[], TESTS)
}

fn run(report: &mut Report, target: &str, variables: &[(&str, &str)], parts: &[Part]) -> Outcome {
    let go = tools::go()?;
    for (package, features, targets) in parts {
        let mut cargo = workspace::cargo_of("stable");
        cargo.args(["test", "--no-fail-fast", "-p", package]);
        cargo.args(*targets).args(["--features", features]);
        cargo
            .args(["--target", target])
            .envs(variables.iter().copied());
        cargo.env("EVERPROF_GO", &go);
        cargo.env("CARGO_TARGET_DIR", workspace::target_for(target));
        report.test(&format!("{package} on {target}"), &mut cargo);
    }
    Ok(())
}
