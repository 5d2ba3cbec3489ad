//! ci/matrix.yml forgets nobody: each model, each fuzz target and each checker has its job.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_model_and_fuzz_target_has_a_job() {
    let matrix = read("ci/matrix.yml");
    for (key, folder, prefix) in [
        ("model: [", "crates/everprof-core/tests", "loom_"),
        ("target: [", "fuzz/fuzz_targets", ""),
    ] {
        let list = matrix.split_once(key).unwrap().1.split_once(']').unwrap().0;
        let mut listed: Vec<&str> = list.split(',').map(str::trim).collect();
        listed.sort_unstable();
        assert_eq!(listed, names(folder, prefix), "the list behind `{key}`");
    }
}

#[test]
fn every_checker_has_a_job() {
    let matrix = read("ci/matrix.yml");
    let chores = read("xtask/src/main.rs");
    for chore in ["miri", "asan", "tsan", "aarch64", "musl", "loom", "fuzz"] {
        assert!(chores.contains(&format!("\"{chore}\"")), "no chore {chore}");
        let is_named = matrix.contains(&format!("cargo xtask {chore}"))
            || matrix.contains("cargo xtask ${{ matrix.chore }}") && is_listed(&matrix, chore);
        assert!(is_named, "no job runs `cargo xtask {chore}`");
    }
}

fn is_listed(matrix: &str, chore: &str) -> bool {
    let list = matrix.split_once("chore: [").unwrap().1;
    let list = list.split_once(']').unwrap().0;
    list.split(',').any(|name| name.trim() == chore)
}

/// The names of a folder's sources that begin so, sorted.
fn names(folder: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files
        .filter_map(|file| file.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap().to_path_buf()
}
