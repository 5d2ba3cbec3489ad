//! Ways to see what tasks wait for (`bench/tasks`): polls, idle tasks, a service.

use std::fmt::Write as _;
use std::process::Command;

use super::program::{Program, Spread};
use super::{Bench, Result, in_turns};
use crate::tools;

/// The peers: what a row is called, the binary, and whether it takes `tokio_unstable`.
const PEERS: [(&str, &str, bool); 6] = [
    ("tokio, bare", "tasks-bare", false),
    ("**everprof**", "tasks-watched", false),
    ("async-backtrace 0.2", "tasks-backtrace", false),
    ("await-tree 0.3", "tasks-await-tree", false),
    ("tokio's task dumps", "tasks-taskdump", true),
    ("tokio-console 0.5", "tasks-console", true),
];

/// Polls between two runs under callgrind.
const FEW: &str = "2000";
const MANY: &str = "12000";
const BETWEEN: f64 = 10_000.0;

const IDLE: &str = "100000";

impl Bench {
    /// Three tables.
    pub(super) fn tasks(&self) -> Result<String> {
        self.build_tasks(false)?;
        self.build_tasks(true)?;
        let mut table = self.a_poll()?;
        table.push('\n');
        table.push_str(&self.idle_tasks()?);
        table.push('\n');
        table.push_str(&self.service()?);
        Ok(table)
    }

    fn a_poll(&self) -> Result<String> {
        tools::need("valgrind", "valgrind")?;
        let mut table = String::from(
            "One poll of a task that waits five async functions deep, and its wake: instructions \
             more than bare, and CPU time ÷ bare.\n\n| | instructions | CPU time |\n|---|---|---|\n",
        );
        let bare = self.peer("tasks-bare", false);
        let bare_count = self.instructions_of_a_poll(&bare)?;
        for (name, program) in self.ways() {
            eprintln!("poll {name}");
            let count = self.instructions_of_a_poll(&program)?;
            let cpu =
                |program: &Program| Ok(program.with(&["poll", "1000000"]).figures()?.cpu_seconds);
            let pairs = in_turns(self.rounds, || cpu(&program), || cpu(&bare))?;
            let ratio = Spread::of(pairs.iter().map(|(with, bare)| with / bare).collect());
            let more = match name {
                "tokio, bare" => format!("{bare_count:.0} in all"),
                _ => format!("{:+.0}", count - bare_count),
            };
            writeln!(table, "| {name} | {more} | {ratio} |")?;
        }
        Ok(table)
    }

    fn instructions_of_a_poll(&self, program: &Program) -> Result<f64> {
        let few = program.with(&["poll", FEW]).instructions()?;
        let many = program.with(&["poll", MANY]).instructions()?;
        Ok((many - few) / BETWEEN)
    }

    fn idle_tasks(&self) -> Result<String> {
        let mut table = String::from(
            "100,000 tasks that wait in ten places: resident bytes a task, those of the task \
             itself among them, and the first dump with names and the next.\n\n\
             | | bytes a task | first dump, ms | next, ms | tasks told of | bytes of it |\n\
             |---|---|---|---|---|---|\n",
        );
        let mut ways = self.ways();
        ways.retain(|(name, _)| !name.contains("off"));
        if let Some(go) = self.go_program()? {
            ways.push(("Go's goroutines, pprof; then `debug=2`", go));
        }
        for (name, program) in ways {
            eprintln!("idle {name}");
            let text = program.with(&["idle", IDLE]).output()?;
            let figures: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
            match figures[..] {
                [bytes] => writeln!(table, "| {name} | {bytes:.0} | – | – | – | – |")?,
                [bytes, first, tasks, _, next, _, size] => writeln!(
                    table,
                    "| {name} | {bytes:.0} | {:.0} | {:.0} | {tasks} | {size} |",
                    first * 1e3,
                    next * 1e3
                )?,
                _ => return Err(format!("{name}: printed no figures:\n{text}").into()),
            }
        }
        Ok(table)
    }

    fn service(&self) -> Result<String> {
        let mut table = format!(
            "A small service over TCP under load, with all on: throughput ÷ bare, {} pairs of \
             runs{}.\n\n| | |\n|---|---|\n",
            self.rounds,
            if self.cpu { ", by CPU time" } else { "" },
        );
        let bare = self.peer("tasks-bare", false);
        let scale = self.scale.to_string();
        let seconds = |program: &Program| {
            let figures = program.with(&["service", &scale]).figures()?;
            Ok(if self.cpu {
                figures.cpu_seconds
            } else {
                figures.wall_seconds
            })
        };
        for (name, program) in self.ways() {
            eprintln!("service {name}");
            let pairs = in_turns(self.rounds, || seconds(&program), || seconds(&bare))?;
            let ratio = Spread::of(pairs.iter().map(|(with, bare)| bare / with).collect());
            writeln!(table, "| {name} | {ratio} |")?;
        }
        Ok(table)
    }

    /// All rows: everprof with tasks on, and off.
    fn ways(&self) -> Vec<(&'static str, Program)> {
        let mut ways = Vec::new();
        for (name, binary, is_unstable) in PEERS {
            let program = self.peer(binary, is_unstable);
            if binary == "tasks-watched" {
                let off = program.clone().env("EVERPROF", "tasks=off");
                ways.push(("everprof, `tasks=off`", off));
            }
            ways.push((name, program));
        }
        ways.retain(|(name, _)| name.contains(&self.only));
        ways
    }

    fn peer(&self, binary: &str, is_unstable: bool) -> Program {
        let folder = if is_unstable {
            "unstable/release"
        } else {
            "release"
        };
        let path = self.target.join(folder).join(binary);
        Program::new(&[&path.display().to_string()])
    }

    /// Those with flags of the compiler's in a folder of their own: all is built anew for them.
    fn build_tasks(&self, is_unstable: bool) -> Result<()> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--release"]);
        cargo
            .arg("--manifest-path")
            .arg(self.root.join("bench/tasks/Cargo.toml"));
        let target = if is_unstable {
            cargo.env("RUSTFLAGS", "--cfg tokio_unstable");
            self.target.join("unstable")
        } else {
            self.target.clone()
        };
        cargo.arg("--target-dir").arg(target);
        for (_, binary, _) in PEERS.iter().filter(|peer| peer.2 == is_unstable) {
            eprintln!("building {binary}");
            cargo.args(["--package", binary]);
        }
        match cargo.status()?.success() {
            true => Ok(()),
            false => Err("bench/tasks: not built".into()),
        }
    }
}
