//! `cargo xtask miri`: undefined behaviour, in what Miri can run.
//!
//! Unit tests of core, where the unsafe code is, under several seeds: a seed
//! chooses the interleaving, the addresses and which weak-memory value a load
//! returns. What needs the real machine (unwinding, mappings of files, fork)
//! is left out by `cfg(not(miri))` at the test, with the reason there.

use crate::report::{Outcome, Report};
use crate::{tools, workspace};

/// Runs the unit tests of core under each seed, or those of the modules that are named.
pub fn run(report: &mut Report, rooms: &[String]) -> Outcome {
    let folder = workspace::root().join("crates/everprof-core/src");
    let is_room = |room: &&String| folder.join(format!("{room}.rs")).exists();
    if let Some(unknown) = rooms.iter().find(|room| !is_room(room)) {
        return Err(format!(
            "core has no module `{unknown}`; its lib.rs lists them"
        ));
    }
    tools::need_rust("nightly", &["miri", "rust-src"], &[])?;
    let mut cargo = workspace::cargo_of("nightly");
    cargo.args(["miri", "test", "-p", "everprof-core", "--lib", "--"]);
    cargo.args(rooms.iter().map(|room| format!("{room}::")));
    cargo.env(
        "MIRIFLAGS",
        format!("-Zmiri-disable-isolation -Zmiri-many-seeds=0..{SEEDS}"),
    );
    cargo.env("CARGO_TARGET_DIR", workspace::target_for("miri"));
    report.test("Miri on everprof-core", &mut cargo);
    Ok(())
}

/// Interleavings tried. Each costs a whole run.
const SEEDS: u32 = 4;
