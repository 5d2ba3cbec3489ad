//! Programs compiled for a test, and everprof started with them.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used)]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use everprof_profile::Profile;
use everprof_profile::pprof::{Limits, decode};
use tempfile::TempDir;

/// A directory that is gone after the test, for programs and profiles.
pub fn room() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn heed_signals() -> std::io::Result<()> {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the default disposition needs no handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    Ok(())
}

/// The `everprof` binary under test, with `run` and a place for its profiles.
pub fn run(profiles: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everprof"));
    // What the developer's shell or cargo preloads is not part of the test.
    command.env_remove("LD_PRELOAD").env_remove("EVERPROF");
    // Nor is what it ignores: under nohup, or in the background of a script, a test
    // would wait for a signal that never comes.
    // SAFETY: `signal` is async-signal-safe, as the child of a fork needs it.
    unsafe { command.pre_exec(heed_signals) };
    command
        .arg("run")
        .arg("-o")
        .arg(profiles)
        .args(options)
        .arg("--");
    command
}

/// Where the source of a test program stands.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(name)
}

/// Compiles a C or C++ program of `tests/programs`, without optimisation, so
/// that no allocation is elided.
pub fn compile(room: &TempDir, name: &str, options: &[&str]) -> PathBuf {
    let program = room.path().join(name.replace('.', "_"));
    let compiler = if name.ends_with(".cc") { "c++" } else { "cc" };
    let mut command = Command::new(compiler);
    command.args([
        "-O0",
        "-g",
        "-fno-builtin",
        "-Wno-deprecated-declarations",
        "-pthread",
        "-o",
    ]);
    command.arg(&program).arg(source(name)).args(options);
    success(command.output().unwrap());
    program
}

/// Compiles a Rust program of `tests/programs`, as a release build.
pub fn compile_rust(room: &TempDir, name: &str, options: &[&str]) -> PathBuf {
    let program = room.path().join(name.replace('.', "_"));
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command
        .args(["--edition=2024", "-O", "-g", "-o"])
        .arg(&program)
        .arg(source(name))
        .args(options);
    success(command.output().unwrap());
    program
}

/// What a command wrote; its failure fails the test with all of its words.
#[track_caller]
pub fn success(output: Output) -> (String, String) {
    let (out, err) = words(&output);
    assert!(
        output.status.success(),
        "{}\nstdout: {out}\nstderr: {err}",
        output.status
    );
    (out, err)
}

/// Standard output and standard error as text.
pub fn words(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Reads a profile that a run left.
#[track_caller]
pub fn profile(directory: &Path, name: &str) -> Profile {
    let path = directory.join(format!("{name}.pb.gz"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    decode(&bytes, &Limits::default()).unwrap()
}

/// Sums of the four heap values over the samples whose stack has `function`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub alloc_objects: i64,
    pub alloc_space: i64,
    pub inuse_objects: i64,
    pub inuse_space: i64,
}

/// What `function` allocated, itself or through others.
pub fn sums(profile: &Profile, function: &str) -> Sums {
    let mut sums = Sums::default();
    for sample in profile.samples() {
        if !names(profile, sample.stack())
            .iter()
            .any(|name| name == function)
        {
            continue;
        }
        let values = sample.values();
        sums.alloc_objects += values[0];
        sums.alloc_space += values[1];
        sums.inuse_objects += values[2];
        sums.inuse_space += values[3];
    }
    sums
}

/// Names of a stack's frames, leaf first.
pub fn names(profile: &Profile, stack: everprof_profile::Stack<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for id in stack {
        for line in profile.location(id).lines {
            names.push(profile.function(line.function).name.to_owned());
        }
    }
    names
}

/// Every function name of a profile.
pub fn functions(profile: &Profile) -> Vec<String> {
    profile
        .functions()
        .map(|(_, function)| function.name.to_owned())
        .collect()
}
