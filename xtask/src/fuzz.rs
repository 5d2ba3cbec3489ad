//! `cargo xtask fuzz`: the fuzz targets, each for a while.

use std::fs;
use std::process::Command;

use crate::report::{Outcome, Report, checked};
use crate::{tools, workspace};

/// Seconds a target runs unless told otherwise.
const SECONDS: u32 = 60;

/// Runs the targets named, or all of them.
pub fn run(report: &mut Report, arguments: &[String]) -> Outcome {
    let (mut seconds, mut names) = (SECONDS, Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--seconds" {
            let value = words.next().map(String::as_str).unwrap_or_default();
            let wrong = |_| format!("--seconds `{value}`: expected a number of seconds");
            seconds = value.parse().map_err(wrong)?;
        } else {
            names.push(word.clone());
        }
    }
    let targets = targets()?;
    if let Some(unknown) = names.iter().find(|name| !targets.contains(name)) {
        return Err(format!(
            "no target is called `{unknown}`; there are {}",
            targets.join(", ")
        ));
    }
    install()?;
    for target in targets
        .iter()
        .filter(|target| names.is_empty() || names.contains(target))
    {
        let mut fuzz = cargo_fuzz();
        fuzz.args(["run", target, &format!("fuzz/corpus/{target}")]);
        let seeds = format!("fuzz/seeds/{target}");
        if workspace::root().join(&seeds).is_dir() {
            fuzz.arg(seeds);
        }
        let corpus = workspace::root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&corpus).map_err(|e| format!("{}: {e}", corpus.display()))?;
        fuzz.args([
            "--",
            &format!("-max_total_time={seconds}"),
            "-timeout=10",
            "-rss_limit_mb=1024",
        ]);
        report.step(&format!("fuzz {target} for {seconds} s"), &mut fuzz);
    }
    Ok(())
}

fn targets() -> Outcome<Vec<String>> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut targets: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .collect();
    targets.sort();
    Ok(targets)
}

fn install() -> Outcome {
    let binary = workspace::tools().join("bin/cargo-fuzz");
    if tools::is_command("cargo-fuzz") || binary.exists() {
        return Ok(());
    }
    let mut cargo = workspace::cargo();
    checked(
        cargo
            .args(["install", "--locked", "cargo-fuzz", "--root"])
            .arg(workspace::tools()),
    )
}

/// `cargo fuzz` of the nightly toolchain, found in `.tools` too.
fn cargo_fuzz() -> Command {
    let mut command = workspace::cargo_of("nightly");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = workspace::tools().join("bin");
    let folders = std::iter::once(own).chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
    command.arg("fuzz");
    command
}
