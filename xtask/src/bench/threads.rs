//! Dumps of threads, labels and CPU profiles beside those of others.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::peers::on_path;
use super::program::{Program, Spread};
use super::{Bench, Result, in_turns};

/// Threads that wait; a busy one more.
const COUNTS: [&str; 3] = ["100", "1000", "5000"];

/// A debugger that has not written its stacks by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(120);

impl Bench {
    /// Dumps of many threads that wait.
    pub(super) fn threads(&self) -> Result<String> {
        self.cargo_build("bench/Cargo.toml", &["dumps"])?;
        let dumps = self.built("dumps");
        let rounds = self.rounds.to_string();
        let mut table = format!(
            "Milliseconds by the clock of a dump, median of {rounds} after a first one; in \
             brackets the CPU time of the thread that makes it. All threads but one wait. A \
             debugger stops the process and is timed from its start to its end, once.\n\n|"
        );
        for count in COUNTS {
            write!(table, " | {count}")?;
        }
        writeln!(table, " |\n|---{}|", "|---".repeat(COUNTS.len()))?;
        let mut rows: Vec<[String; 2]> = vec![[
            "**everprof, stacks**".to_owned(),
            "**everprof, as text with names and lines**".to_owned(),
        ]];
        let mut programs = vec![(dumps.clone(), None)];
        if let Some(go) = self.go_program()? {
            for (kind, what) in [("plain", "goroutines"), ("locked", "locked threads")] {
                rows.push([
                    format!("Go, `GoroutineProfile`, {what}"),
                    format!("Go, `Stack(all)`, {what}"),
                ]);
                programs.push((go.clone(), Some(kind)));
            }
        }
        for (names, (program, kind)) in rows.iter().zip(&programs) {
            let mut cells = [String::new(), String::new()];
            for count in COUNTS {
                eprintln!("{} {count}", names[0]);
                let mut words = vec!["dump", count, &rounds];
                words.extend(kind.iter());
                let text = program.with(&words).output()?;
                for (cell, line) in cells.iter_mut().zip(text.lines()) {
                    match line.split_once(' ') {
                        Some((wall, cpu)) => write!(cell, " {wall} ({cpu}) |")?,
                        None => write!(cell, " {line} |")?,
                    }
                }
            }
            for (name, cells) in names.iter().zip(&cells) {
                writeln!(table, "| {name} |{cells}")?;
            }
        }
        let gdb = ["gdb", "-batch", "-ex", "thread apply all bt", "-p"];
        for (name, words) in [
            ("gdb, `thread apply all bt`", &gdb[..]),
            ("`eu-stack`", &["eu-stack", "-p"]),
        ] {
            if on_path(words[0]).is_none() {
                eprintln!("{} is not installed, its row is left out", words[0]);
                continue;
            }
            write!(table, "| {name} |")?;
            for count in COUNTS {
                eprintln!("{name} {count}");
                match debugged(&dumps.with(&["wait", count]), words)? {
                    Some(time) => write!(table, " {:.0} |", time.as_secs_f64() * 1e3)?,
                    None => write!(table, " more than {} s |", PATIENCE.as_secs())?,
                }
            }
            table.push('\n');
        }
        Ok(table)
    }

    /// A label set and dropped.
    pub(super) fn labels(&self) -> Result<String> {
        self.cargo_build("bench/Cargo.toml", &["dumps"])?;
        let mut table = String::from(
            "| one label of 12 bytes, set and dropped | nanoseconds, best of 20 |\n|---|---|\n",
        );
        let ours = self.built("dumps").with(&["label", "1000000"]).output()?;
        writeln!(table, "| **`everprof::labels!`** | {} |", ours.trim())?;
        if let Some(go) = self.go_program()? {
            let nanos = go.with(&["label", "1000000"]).output()?;
            writeln!(table, "| Go's `pprof.Do` | {} |", nanos.trim())?;
        }
        Ok(table)
    }

    /// The CPU time of a program while its CPU time is profiled.
    pub(super) fn cpu(&self) -> Result<String> {
        self.cargo_build("bench/Cargo.toml", &["cpu"])?;
        let cpu = |profiler: &str| self.built("cpu").with(&[profiler, "100", "4", TURNS]);
        let bare = cpu("none");
        let mut ways = vec![
            ("none ÷ itself (noise)", bare.clone(), bare.clone()),
            ("**everprof**", cpu("everprof"), bare.clone()),
            ("pprof-rs 0.15", cpu("pprof"), bare.clone()),
        ];
        if on_path("perf").is_some() {
            let file = self.scratch("perf");
            let perf = ["perf", "record", "-q", "-F", "100", "-g", "-o", &file, "--"];
            let on = bare.under(&perf);
            if on.output().is_ok() {
                ways.push(("perf record -g", on, bare));
            } else {
                eprintln!("perf cannot count here, its row is left out");
            }
        }
        if let Some(go) = self.go_program()? {
            let go = |profiled: &str| go.with(&["cpu", profiled, "100", "4", TURNS]);
            ways.push(("Go", go("profiled"), go("plain")));
        }
        let mut table = format!(
            "CPU time of the process with a profile at 100 Hz ÷ without: median \
             [least..greatest] of {} pairs of runs; 4 threads, stacks 32 deep. Beside it what the \
             profile has seen of that time, where the program can tell.\n\n\
             | | CPU time | seen |\n|---|---|---|\n",
            self.rounds
        );
        for (name, on, off) in ways.iter().filter(|(name, ..)| name.contains(&self.only)) {
            eprintln!("cpu {name}");
            let pairs = in_turns(self.rounds, || taken(on), || taken(off))?;
            let ratios = pairs.iter().map(|(on, off)| on[0] / off[0]);
            let seen = pairs.iter().map(|(on, _)| on[1] / on[0]);
            let seen = Spread::of(seen.collect());
            let is_told = seen.0[0] > 0.0;
            let seen = if is_told {
                seen.to_string()
            } else {
                "–".into()
            };
            writeln!(
                table,
                "| {name} | {} | {seen} |",
                Spread::of(ratios.collect())
            )?;
        }
        Ok(table)
    }
}

/// About a second of CPU time on each thread.
const TURNS: &str = "1000000";

/// Milliseconds that the work took, and of them what a profile has seen, else 0.
fn taken(program: &Program) -> Result<[f64; 2]> {
    let text = program.output()?;
    let line = text.lines().find(|line| line.starts_with("took "));
    let numbers: Vec<f64> = line
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers[..] {
        [took] => Ok([took, 0.0]),
        [took, seen] => Ok([took, seen]),
        _ => Err(format!("{}: printed no figures:\n{text}", program.words.join(" ")).into()),
    }
}

/// How long a debugger takes to write the stacks of a program that waits, from its start to its
/// end. `None`: longer than [`PATIENCE`].
fn debugged(program: &Program, debugger: &[&str]) -> Result<Option<Duration>> {
    let (first, rest) = program.words.split_first().ok_or("no program")?;
    let child = Command::new(first)
        .args(rest)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut waiting = EndOnDrop(child);
    let output = waiting.0.stdout.take().ok_or("not piped")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let (first, rest) = debugger.split_first().ok_or("no debugger")?;
    let begun = Instant::now();
    let child = Command::new(first)
        .args(rest)
        .arg(line.trim())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut debugger = EndOnDrop(child);
    while begun.elapsed() < PATIENCE {
        if debugger.0.try_wait()?.is_some() {
            return Ok(Some(begun.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(None)
}

/// A process that does not outlive its use.
struct EndOnDrop(Child);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        // It has ended, or ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
