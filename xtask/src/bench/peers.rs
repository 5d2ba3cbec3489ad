//! The peers: which programs there are to compare, and their building.

use std::path::Path;
use std::process::Command;

use super::program::Program;
use super::{Bench, Result};
use crate::tools;

/// 2^19 bytes between samples, as all the others have.
pub(super) const JEMALLOC_ON: &str = "prof:true,prof_active:true,lg_prof_sample:19";

/// A row of the table of workloads: profiled and not.
pub(super) struct Pair {
    pub name: &'static str,
    pub on: Program,
    pub off: Program,
    /// Of the scale, for peers that take a hundred times as long.
    pub shorter: f64,
}

impl Bench {
    /// Everything there is to compare; says on stderr what is not installed.
    pub(super) fn pairs(&self) -> Result<Vec<Pair>> {
        self.build_peers()?;
        let peer = |name| self.built(name);
        let system = peer("system");
        let [system_lto, everprof_lto] = self.with_lto()?;
        let pair = |name, on, off| Pair {
            name,
            on,
            off,
            shorter: 1.0,
        };
        let mut pairs = vec![
            pair("System ÷ itself (noise)", system.clone(), system.clone()),
            pair(
                "**everprof over System**",
                peer("everprof-system"),
                system.clone(),
            ),
            pair(
                "**everprof over jemalloc**",
                peer("everprof-jemalloc"),
                peer("jemalloc"),
            ),
            pair(
                "**everprof over mimalloc**",
                peer("everprof-mimalloc"),
                peer("mimalloc-bare"),
            ),
            pair(
                "**everprof over System, `heap=0`**",
                peer("everprof-system").env("EVERPROF", "heap=0"),
                system.clone(),
            ),
            // All that is done for a sample, but none is taken.
            pair(
                "**everprof over System, `heap=1TiB`**",
                peer("everprof-system").env("EVERPROF", "heap=1TiB"),
                system.clone(),
            ),
            pair(
                "**everprof over System, `lto = \"fat\"`**",
                everprof_lto,
                system_lto,
            ),
            pair(
                "jemalloc 5.3 prof",
                peer("jemalloc-prof").env("_RJEM_MALLOC_CONF", JEMALLOC_ON),
                peer("jemalloc"),
            ),
            pair(
                "mimalloc-pprof 1.1",
                peer("with-mimalloc-pprof").env("MIMALLOC_PROF", "1"),
                peer("with-mimalloc-pprof").env("MIMALLOC_PROF", "0"),
            ),
            pair("pprof-alloc 0.6", peer("with-pprof-alloc"), system.clone()),
            Pair {
                shorter: 0.3,
                ..pair("rpprof 0.18", peer("with-rpprof"), system.clone())
            },
            Pair {
                shorter: 0.02,
                ..pair("dhat 0.3", peer("with-dhat"), system.clone())
            },
        ];
        pairs.push(pair(
            "**`everprof run`, System**",
            system.under_all(&self.everprof_run()?),
            system.clone(),
        ));
        match library("libtcmalloc.so.4") {
            Some(tcmalloc) => {
                let sampling = |period: &str| {
                    let system = system.clone().env("LD_PRELOAD", &tcmalloc);
                    system.env("TCMALLOC_SAMPLE_PARAMETER", period)
                };
                pairs.push(pair(
                    "gperftools tcmalloc",
                    sampling("524288"),
                    sampling("0"),
                ));
            }
            None => missing("libtcmalloc.so.4", "apt-get install libgoogle-perftools4"),
        }
        match library("libjemalloc.so.2") {
            Some(jemalloc) => {
                let profiling = |how| {
                    system
                        .clone()
                        .env("LD_PRELOAD", &jemalloc)
                        .env("MALLOC_CONF", how)
                };
                pairs.push(pair(
                    "jemalloc 5.3 prof, preloaded",
                    profiling(JEMALLOC_ON),
                    profiling("prof:false"),
                ));
            }
            None => missing("libjemalloc.so.2", "apt-get install libjemalloc2"),
        }
        match on_path("heaptrack") {
            Some(heaptrack) => {
                let on = system.under(&[&heaptrack, "-o", &self.scratch("heaptrack")]);
                pairs.push(Pair {
                    shorter: 0.02,
                    ..pair("heaptrack 1.4", on, system.clone())
                });
            }
            None => missing("heaptrack", "apt-get install heaptrack"),
        }
        if let Some(go) = self.go_program()? {
            let on = go.clone().env("PROFILE", "524288");
            pairs.push(pair("Go, 512 KiB", on, go.env("PROFILE", "0")));
        }
        Ok(pairs)
    }

    pub(super) fn build_peers(&self) -> Result<()> {
        // Apart from one another, or cargo would unite their features: jemalloc
        // with and without its profiler.
        self.cargo_build("bench/Cargo.toml", &["jemalloc-prof"])?;
        self.cargo_build(
            "bench/Cargo.toml",
            &[
                "system",
                "everprof-system",
                "jemalloc",
                "everprof-jemalloc",
                "mimalloc-bare",
                "everprof-mimalloc",
                "with-pprof-alloc",
                "with-rpprof",
                "with-dhat",
            ],
        )?;
        self.cargo_build("bench/mimalloc-pprof/Cargo.toml", &["with-mimalloc-pprof"])
    }

    pub(super) fn cargo_build(&self, manifest: &str, packages: &[&str]) -> Result<()> {
        self.cargo_build_as("release", manifest, packages)
    }

    fn cargo_build_as(&self, profile: &str, manifest: &str, packages: &[&str]) -> Result<()> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--profile", profile]);
        cargo
            .arg("--manifest-path")
            .arg(self.root.join(manifest))
            .arg("--target-dir")
            .arg(&self.target);
        for package in packages {
            cargo.args(["--package", package]);
        }
        eprintln!("building {}", packages.join(", "));
        if cargo.status()?.success() {
            Ok(())
        } else {
            Err(format!("{manifest}: not built").into())
        }
    }

    /// System, bare and under everprof, built as one unit with std's own code.
    pub(super) fn with_lto(&self) -> Result<[Program; 2]> {
        let packages = ["system", "everprof-system"];
        self.cargo_build_as("lto", "bench/Cargo.toml", &packages)?;
        Ok(packages
            .map(|name| Program::new(&[&self.target.join("lto").join(name).display().to_string()])))
    }

    /// The words before a program's own to run it under everprof.
    pub(super) fn everprof_run(&self) -> Result<Vec<String>> {
        self.cargo_build("Cargo.toml", &["everprof-cli"])?;
        let everprof = self.target.join("release/everprof").display().to_string();
        Ok(vec![
            everprof,
            "run".into(),
            "-o".into(),
            self.scratch("run"),
            "--".into(),
        ])
    }

    pub(super) fn go_program(&self) -> Result<Option<Program>> {
        let go = match tools::go() {
            Ok(go) => go,
            Err(error) => {
                missing("go", &error);
                return Ok(None);
            }
        };
        let program = self.target.join("go-workloads");
        let status = Command::new(go)
            // `managed` times two functions that Go keeps to itself.
            .args(["build", "-ldflags=-checklinkname=0", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(self.root.join("bench/go"))
            .status()?;
        if !status.success() {
            return Err("bench/go: not built".into());
        }
        Ok(Some(Program::new(&[&program.display().to_string()])))
    }

    pub(super) fn built(&self, name: &str) -> Program {
        Program::new(&[&self.target.join("release").join(name).display().to_string()])
    }

    /// A path for files that nobody reads.
    pub(super) fn scratch(&self, name: &str) -> String {
        self.target
            .join(format!("scratch-{name}"))
            .display()
            .to_string()
    }
}

pub(super) fn on_path(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|directory| directory.join(name));
    found
        .find(|path| path.is_file())
        .map(|path| path.display().to_string())
}

pub(super) fn library(name: &str) -> Option<String> {
    let directories = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let mut paths = directories
        .iter()
        .map(|directory| format!("{directory}/{name}"));
    paths.find(|path| Path::new(path).exists())
}

fn missing(what: &str, how: &str) {
    eprintln!("{what} is not installed, its row is left out: {how}");
}
