//! Builds the library that `everprof run` preloads, so that it can be carried
//! inside the binary: `cargo install` of this one package is the whole installation.
//!
//! The same cargo builds the package `everprof-agent` that stands beside this
//! one, into a target directory of its own (the outer cargo holds the lock of
//! the usual one), always optimised: it lives in other people's programs, even
//! when this binary is a debug build.
//!
//! Packagers who build it separately name the finished file in
//! `EVERPROF_AGENT_SO`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=EVERPROF_AGENT_SO");
    let image = match env::var_os("EVERPROF_AGENT_SO") {
        Some(path) => given(Path::new(&path)),
        None => built(),
    };
    println!("cargo:rustc-env=EVERPROF_AGENT_IMAGE={}", image.display());
}

fn given(path: &Path) -> PathBuf {
    println!("cargo:rerun-if-changed={}", path.display());
    let absolute =
        env::var_os("PWD").map_or_else(|| path.to_owned(), |here| Path::new(&here).join(path));
    if !absolute.is_file() {
        fail(&format!(
            "EVERPROF_AGENT_SO=`{}`: no such file; give an absolute path",
            path.display()
        ));
    }
    absolute
}

fn built() -> PathBuf {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let crates = here.parent().unwrap_or(&here);
    let manifest = crates.join("everprof-agent/Cargo.toml");
    if !manifest.is_file() {
        fail(&format!(
            "`{}` is not there: build from the repository, or build the package everprof-agent \
             and set EVERPROF_AGENT_SO to the absolute path of its libeverprof_agent.so",
            manifest.display()
        ));
    }
    for part in [
        "everprof-agent",
        "everprof-core",
        "everprof-profile",
        "everprof",
    ] {
        for file in ["src", "build.rs", "Cargo.toml"] {
            let path = crates.join(part).join(file);
            if path.exists() {
                println!("cargo:rerun-if-changed={}", path.display());
            }
        }
    }
    let root = crates.join("..");
    for file in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }

    let target = variable("TARGET");
    let directory = PathBuf::from(variable("OUT_DIR")).join("agent");
    // What this very build downloaded is enough as a rule; offline first, so
    // that a machine without a network builds too.
    if !build(&manifest, &directory, &target, true) && !build(&manifest, &directory, &target, false)
    {
        fail(
            "the preloaded library (package everprof-agent) did not build; cargo's words are above",
        );
    }
    directory.join(&target).join("dist/libeverprof_agent.so")
}

fn build(manifest: &Path, directory: &Path, target: &str, offline: bool) -> bool {
    let mut cargo = Command::new(variable("CARGO"));
    cargo.args([
        "build",
        "--lib",
        "--profile=dist",
        "--target",
        target,
        "--manifest-path",
    ]);
    cargo.arg(manifest).arg("--target-dir").arg(directory);
    if offline {
        cargo.arg("--offline");
    }
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(disturbs) {
            cargo.env_remove(name);
        }
    }
    // Set, even if empty, it also overrides flags from configuration files:
    // sanitizers, coverage and `panic=abort` are not meant for this library.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(target));
    match cargo.status() {
        Ok(status) => status.success(),
        Err(error) => fail(&format!("cargo could not be started: {error}")),
    }
}

/// Frame pointers keep a walk through the library cheap. On musl a shared
/// library needs the dynamic C library.
fn flags(target: &str) -> &'static str {
    if target.contains("musl") {
        "-Cforce-frame-pointers=yes\u{1f}-Ctarget-feature=-crt-static"
    } else {
        "-Cforce-frame-pointers=yes"
    }
}

/// What the outer cargo set for this package or for this build.
fn disturbs(name: &str) -> bool {
    let for_cargo = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_TERM_",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
    ];
    let outer = [
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "NUM_JOBS",
        "OUT_DIR",
    ];
    let by_cargo = name.starts_with("CARGO") || name.starts_with("DEP_") || outer.contains(&name);
    by_cargo && !for_cargo.iter().any(|kept| name.starts_with(kept))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo:warning={line}");
    }
    eprintln!("everprof-cli: {message}");
    exit(1)
}
