//! The workspace as cargo sees it: where it stands, its packages, its features.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::report::{Outcome, output};

/// A package of the workspace.
#[derive(Debug)]
pub struct Package {
    pub name: String,
    /// Its features, without `default`.
    pub features: Vec<String>,
    /// Those that `default` switches on.
    pub defaults: Vec<String>,
}

impl Package {
    /// Every choice of features as cargo arguments, `default` apart: additive
    /// features are few here, so that all of them can be built.
    pub fn powerset(&self) -> Vec<Vec<String>> {
        (0..1usize << self.features.len())
            .map(|choice| {
                let chosen = self.features.iter().enumerate();
                let chosen = chosen.filter(|(bit, _)| choice >> bit & 1 == 1);
                let names: Vec<&str> = chosen.map(|(_, name)| name.as_str()).collect();
                vec![
                    "--no-default-features".into(),
                    format!("--features={}", names.join(",")),
                ]
            })
            .collect()
    }

    /// The choices worth running tests for: what a user gets, the least, the most.
    pub fn test_choices(&self) -> Vec<Vec<String>> {
        let mut choices = vec![vec![]];
        if !self.defaults.is_empty() {
            choices.push(vec!["--no-default-features".into()]);
        }
        if self
            .features
            .iter()
            .any(|name| !self.defaults.contains(name))
        {
            choices.push(vec!["--all-features".into()]);
        }
        choices
    }
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// The folder for what chores download or generate; never tracked.
pub fn tools() -> PathBuf {
    root().join(".tools")
}

/// The cargo that runs this chore, in the workspace's folder.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Cargo of a named toolchain, through rustup.
pub fn cargo_of(toolchain: &str) -> Command {
    // The name that rustup resolved for this chore would win over `+toolchain`.
    let mut command = Command::new("cargo");
    command
        .current_dir(root())
        .env("RUSTUP_TOOLCHAIN", toolchain)
        .env_remove("CARGO");
    command
}

/// Cargo's `verb` for one of `testprograms` that is a workspace of its own, with the versions that
/// its lock file names and no others.
pub fn cargo_alone(verb: &str, program: &str, target: &Path) -> Command {
    let mut command = cargo_of("stable");
    let manifest = root().join("testprograms").join(program).join("Cargo.toml");
    command
        .args([verb, "--quiet", "--locked", "--manifest-path"])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", target);
    command
}

/// A target folder of a chore's own: other flags than usual would otherwise
/// rebuild the usual one each time, and back.
pub fn target_for(chore: &str) -> PathBuf {
    let usual = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    usual
        .unwrap_or_else(|| root().join("target"))
        .join("xtask")
        .join(chore)
}

/// The machine's own target triple.
pub fn host() -> Outcome<String> {
    let text = output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".into())
}

/// The workspace's packages, in the order of its arrows: what others stand on first.
pub fn packages() -> Outcome<Vec<Package>> {
    let text = output(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    let mut packages: Vec<Package> = packages.iter().map(package).collect();
    packages.sort_by_key(|package| {
        let known = ORDER.iter().position(|name| *name == package.name);
        (known.unwrap_or(ORDER.len()), package.name.clone())
    });
    Ok(packages)
}

fn package(value: &Value) -> Package {
    let features = value["features"].as_object();
    let names = features.into_iter().flatten().map(|(name, _)| name.clone());
    let defaults = value["features"]["default"]
        .as_array()
        .into_iter()
        .flatten();
    Package {
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        features: names.filter(|name| name != "default").collect(),
        defaults: defaults
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect(),
    }
}

const ORDER: &[&str] = &[
    "everprof-core",
    "everprof-profile",
    "everprof",
    "everprof-agent",
    "everprof-cli",
    "testprograms",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn package(features: &[&str], defaults: &[&str]) -> Package {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Package {
            name: "p".into(),
            features: owned(features),
            defaults: owned(defaults),
        }
    }

    #[test]
    fn powerset_of_two_features_has_four_choices() {
        let choices = package(&["a", "b"], &[]).powerset();
        let flags: Vec<&str> = choices.iter().map(|choice| choice[1].as_str()).collect();
        assert_eq!(
            flags,
            [
                "--features=",
                "--features=a",
                "--features=b",
                "--features=a,b"
            ]
        );
    }

    #[test]
    fn choices_that_are_the_same_are_tested_once() {
        assert_eq!(package(&[], &[]).test_choices().len(), 1);
        assert_eq!(package(&["a"], &["a"]).test_choices().len(), 2);
        assert_eq!(package(&["a", "b"], &["a"]).test_choices().len(), 3);
    }

    #[test]
    fn core_comes_before_what_stands_on_it() {
        let packages = packages().unwrap();
        assert_eq!(packages[0].name, "everprof-core");
        assert!(packages.iter().any(|package| package.name == "xtask"));
    }
}
