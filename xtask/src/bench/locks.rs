//! Threads that contend, with and without a profiler of waits.

use std::fmt::Write as _;

use super::program::{Program, Spread};
use super::{Bench, Result, in_turns};

const WORKLOADS: [&str; 6] = [
    "mutex",
    "rwlock",
    "mpsc",
    "crossbeam",
    "parking_lot",
    "parking_lot_rwlock",
];

/// What `bench/go/locks.go` has too.
const IN_GO: [&str; 4] = ["mutex", "rwlock", "mpsc", "crossbeam"];

/// The peer that wraps locks, and what it has no lock in.
const HOTPATH: &str = "hotpath 0.30, wrapped locks";
const CHANNELS: [&str; 2] = ["mpsc", "crossbeam"];

impl Bench {
    /// Throughput with the profiler ÷ without.
    pub(super) fn locks(&self) -> Result<String> {
        self.cargo_build(
            "bench/Cargo.toml",
            &["locks-bare", "locks-everprof", "locks-hotpath"],
        )?;
        let bare = self.built("locks-bare");
        let everprof = |settings: &str| {
            let program = self.built("locks-everprof");
            program.env("EVERPROF", &format!("heap=0,{settings}"))
        };
        let mut ways = vec![
            ("bare ÷ itself (noise)", bare.clone(), bare.clone()),
            (
                "**everprof, 1 ms**",
                everprof("block=1ms,mutex=1ms"),
                bare.clone(),
            ),
            (
                "everprof, off",
                everprof("block=off,mutex=off"),
                bare.clone(),
            ),
            (
                "everprof, every wait",
                everprof("block=1ns,mutex=1ns"),
                bare.clone(),
            ),
            (
                "`everprof run`, 1 ms",
                bare.under_all(&self.everprof_run()?),
                bare.clone(),
            ),
            (HOTPATH, self.built("locks-hotpath"), bare),
        ];
        if let Some(go) = self.go_program()? {
            let at = |block: &str, mutex: &str| go.clone().env("BLOCK", block).env("MUTEX", mutex);
            ways.push((
                "Go, block 10,000 ns, mutex 1 in 100",
                at("10000", "100"),
                go.clone(),
            ));
            ways.push(("Go, block 1 ns, mutex 1 in 1", at("1", "1"), go.clone()));
        }
        let mut table = format!(
            "Operations a second with profiles ÷ without: median [least..greatest] of {} pairs \
             of runs{}; 8 threads.\n\n|",
            self.rounds,
            if self.cpu { ", by CPU time" } else { "" },
        );
        for workload in WORKLOADS {
            write!(table, " | {workload}")?;
        }
        writeln!(table, " |\n|---{}|", "|---".repeat(WORKLOADS.len()))?;
        for (name, on, off) in ways.iter().filter(|(name, ..)| name.contains(&self.only)) {
            let has = |workload: &&str| match *name {
                HOTPATH => !CHANNELS.contains(workload),
                go if go.starts_with("Go") => IN_GO.contains(workload),
                _ => true,
            };
            write!(table, "| {name} |")?;
            for workload in WORKLOADS {
                if !has(&workload) {
                    table.push_str(" – |");
                    continue;
                }
                eprintln!("{workload} {name}");
                write!(table, " {} |", self.throughput(on, off, workload)?)?;
            }
            table.push('\n');
        }
        Ok(table)
    }

    fn throughput(&self, on: &Program, off: &Program, workload: &str) -> Result<Spread> {
        let scale = self.scale.to_string();
        let seconds = |program: &Program| {
            let figures = program.with(&[workload, &scale]).figures()?;
            Ok(if self.cpu {
                figures.cpu_seconds
            } else {
                figures.wall_seconds
            })
        };
        let pairs = in_turns(self.rounds, || seconds(on), || seconds(off))?;
        Ok(Spread::of(pairs.iter().map(|(on, off)| off / on).collect()))
    }
}
