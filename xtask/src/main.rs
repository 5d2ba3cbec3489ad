//! The project's own chores, one file a chore: `cargo xtask` lists them.

mod bench;
mod ci;
mod fast_path;
mod foreign;
mod fuzz;
mod interpose;
mod loom;
mod miri;
mod parity;
mod report;
mod sanitize;
mod sites;
mod soak;
mod tasks;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use report::{Outcome, Report};

/// A chore: its name, what it does, and how.
type Chore = (
    &'static str,
    &'static str,
    fn(&mut Report, &[String]) -> Outcome,
);

const CHORES: &[Chore] = &[
    (
        "test",
        "install what the tests need into .tools, then run them all",
        test::run,
    ),
    (
        "ci",
        "what CI runs: fmt, clippy, docs, test, interpose, sites, tasks, loom, fast-path --check",
        ci::run,
    ),
    (
        "loom",
        "the concurrency models, one test binary a structure",
        loom::run,
    ),
    (
        "fast-path",
        "count instructions of unsampled alloc, free and locks [--check]",
        fast_path::run,
    ),
    (
        "interpose",
        "waits are seen however a program is built and linked [--here: no musl]",
        interpose::run,
    ),
    (
        "parity",
        "write docs/parity.md, what of Go's profilers is where here [--check]",
        parity::run,
    ),
    (
        "sites",
        "every primitive's call site is in the block profile, by its name",
        sites::run,
    ),
    (
        "soak",
        "all profiles at once on a service under load, then each alone [--minutes N]",
        soak::run,
    ),
    (
        "tasks",
        "every await is seen, and changes nothing; leaks [--here: two builds]",
        tasks::run,
    ),
    (
        "bench",
        "everprof beside its peers [w|instructions|sample|locks|threads|tasks|cpu|run|…]…",
        bench::run,
    ),
    (
        "fuzz",
        "run the fuzz targets [TARGET…] [--seconds N] (nightly)",
        fuzz::run,
    ),
    (
        "miri",
        "what Miri can run of core, under several seeds [ROOM…] (nightly)",
        miri::run,
    ),
    (
        "asan",
        "the tests and the hostile programs under AddressSanitizer (nightly)",
        sanitize::address,
    ),
    (
        "tsan",
        "the tests under ThreadSanitizer (nightly)",
        sanitize::thread,
    ),
    (
        "aarch64",
        "the tests for aarch64, under qemu",
        foreign::aarch64,
    ),
    ("musl", "the tests as static musl programs", foreign::musl),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let Some((_, _, chore)) = CHORES.iter().find(|(known, _, _)| *known == name) else {
        if !name.is_empty() {
            eprintln!("cargo xtask: no chore is called `{name}`; there are:");
        }
        for (name, what, _) in CHORES {
            eprintln!("  cargo xtask {name:<10} {what}");
        }
        return ExitCode::from(2);
    };
    let mut report = Report::default();
    if let Err(error) = chore(&mut report, &rest) {
        report.fail(&name, &error);
    }
    report.close()
}
