//! `cargo xtask loom`: the models of core's concurrent structures.
//!
//! One test binary a structure, `crates/everprof-core/tests/loom_*.rs`. They
//! are built with `--cfg everprof_loom`, a name of our own, so that no
//! dependency changes with it. Release, since a model runs its body thousands
//! of times, with debug assertions, since they are half of what it checks.

use std::fs;

use crate::report::{Outcome, Report};
use crate::workspace;

/// Runs every model, or those named.
pub fn run(report: &mut Report, names: &[String]) -> Outcome {
    let models = models()?;
    if let Some(unknown) = names.iter().find(|name| !models.contains(name)) {
        return Err(format!(
            "no model is called `{unknown}`; there are {}",
            models.join(", ")
        ));
    }
    for model in models
        .iter()
        .filter(|model| names.is_empty() || names.contains(model))
    {
        let mut cargo = workspace::cargo();
        cargo.args(["test", "--release", "-p", "everprof-core", "--test", model]);
        cargo.env("RUSTFLAGS", "--cfg everprof_loom");
        cargo.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
        cargo.env("CARGO_TARGET_DIR", workspace::target_for("loom"));
        report.test(&format!("model {model}"), &mut cargo);
    }
    Ok(())
}

fn models() -> Outcome<Vec<String>> {
    let folder = workspace::root().join("crates/everprof-core/tests");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let models = names.filter(|name| name.starts_with("loom_"));
    let mut models: Vec<String> = models
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .collect();
    models.sort();
    if models.is_empty() {
        return Err(format!("{} holds no loom_*.rs", folder.display()));
    }
    Ok(models)
}
