//! `cargo xtask bench`: everprof beside its peers, as the tables of docs/overhead.md.
//!
//! Each part builds what it needs of `bench/` and prints a table in Markdown;
//! `--write` puts it between the part's markers in docs/overhead.md (`share`: DESIGN.md) as
//! well.
//!
//! | part | tells |
//! |---|---|
//! | `w` | whole programs, profiled ÷ the same allocator not profiled |
//! | `instructions` | instructions that an allocation and its free gain, by callgrind |
//! | `sample` | one sample at depth 32 |
//! | `snapshot` | a profile of 100,000 stacks |
//! | `locks` | threads that contend, with and without profiles of their waits |
//! | `contenders` | five who hold one lock in turn, and what each is charged with |
//! | `share` | how much of the waiting for a lock a profile shows |
//! | `trace` | tracing every allocation, ÷ not tracing |
//! | `trace-read` | how fast a trace of 50 million events is read |
//! | `threads` | dumps of many threads that wait, beside Go and debuggers |
//! | `labels` | a label set and dropped |
//! | `cpu` | CPU time of a program whose CPU time is profiled |
//! | `tasks` | what it costs to see tasks: a poll, 100,000 that wait, a service |
//! | `managed` | the cycle of a managed heap of 100,000 stacks, beside Go's |
//! | `run` | unmodified programs under `everprof run`, heaptrack, jemalloc |
//!
//! Times are compared in pairs that run right after one another, in turning
//! order (AB BA AB …), and a pair yields one ratio: a machine that slows down
//! for a minute then bends two runs, not one. The first pair is thrown away. The few
//! percent that `w` is about take more: see `program::Ratio`.

mod locks;
mod managed;
mod peers;
mod program;
mod tasks;
mod threads;
mod trace;
mod trace_read;
mod truth;

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::report::{Outcome, Report};
use crate::{tools, workspace};
use peers::{JEMALLOC_ON, Pair, library, on_path};
use program::{Figures, Program, Ratio, Spread};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const PARTS: [&str; 15] = [
    "w",
    "instructions",
    "sample",
    "snapshot",
    "locks",
    "contenders",
    "share",
    "trace",
    "trace-read",
    "threads",
    "labels",
    "cpu",
    "tasks",
    "managed",
    "run",
];

/// Runs the parts that the command line names, or all.
pub fn run(report: &mut Report, arguments: &[String]) -> Outcome {
    let (bench, parts) = options(arguments).map_err(|error| format!("bench: {error}"))?;
    for part in parts {
        report.section(&format!("bench {part}"));
        bench
            .part(&part)
            .map_err(|error| format!("bench {part}: {error}"))?;
    }
    Ok(())
}

fn options(arguments: &[String]) -> Result<(Bench, Vec<String>)> {
    let mut bench = Bench::new()?;
    let mut parts = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument}: a value must follow"))
        };
        match argument.as_str() {
            "--rounds" => bench.rounds = value()?.parse()?,
            "--scale" => bench.scale = value()?.parse()?,
            "--only" => bench.only.clone_from(value()?),
            "--write" => bench.write = true,
            "--cpu" => bench.cpu = true,
            name if PARTS.contains(&name) => parts.push(name.to_owned()),
            other => {
                return Err(format!(
                    "`{other}`: expected {}, --rounds N, --scale X, --only ROW, --cpu or --write",
                    PARTS.join(", ")
                )
                .into());
            }
        }
    }
    if parts.is_empty() {
        parts = PARTS.map(str::to_owned).to_vec();
    }
    Ok((bench, parts))
}

/// How many times as many pairs of runs the rows of `w` have that a bar is set for.
const OWN_ROUNDS: usize = 3;

/// Makes a program into the same under a profiler.
type Way = Box<dyn Fn(&Program) -> Program>;

struct Bench {
    root: PathBuf,
    target: PathBuf,
    rounds: usize,
    /// Of the workloads' sizes; 1 makes runs of about a second.
    scale: f64,
    /// Only the rows whose name contains this.
    only: String,
    write: bool,
    /// Compares CPU time in `trace`, too, as `w` always does: for a machine on which other
    /// things run.
    cpu: bool,
}

impl Bench {
    fn new() -> Result<Self> {
        let root = workspace::root().to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => PathBuf::from(directory).join("bench"),
            None => root.join("bench/target"),
        };
        std::fs::create_dir_all(&target)?;
        Ok(Self {
            root,
            target,
            rounds: 9,
            scale: 1.0,
            only: String::new(),
            write: false,
            cpu: false,
        })
    }

    fn part(&self, part: &str) -> Result<()> {
        let table = match part {
            "w" => self.workloads()?,
            "instructions" => self.instructions()?,
            "sample" => self.sample()?,
            "snapshot" => self.snapshot()?,
            "locks" => self.locks()?,
            "contenders" => self.contenders()?,
            "share" => self.share()?,
            "trace" => self.trace()?,
            "trace-read" => self.trace_read()?,
            "threads" => self.threads()?,
            "labels" => self.labels()?,
            "cpu" => self.cpu()?,
            "tasks" => self.tasks()?,
            "managed" => self.managed()?,
            _ => self.run_programs()?,
        };
        println!("{table}");
        if self.write {
            // What is not seen is a question of design, not a cost.
            let page = if part == "share" {
                "DESIGN.md"
            } else {
                "docs/overhead.md"
            };
            write_between_markers(&self.root.join(page), part, &table)?;
        }
        Ok(())
    }

    // ---- w: whole programs ----

    fn workloads(&self) -> Result<String> {
        let pairs: Vec<Pair> = self
            .pairs()?
            .into_iter()
            .filter(|pair| pair.name.contains(&self.only))
            .collect();
        let (few, many) = (self.rounds, self.rounds * OWN_ROUNDS);
        let mut table = format!(
            "Profiled ÷ not profiled, by CPU time: of the least of either side; then median and \
             middle half of {few} pairs of runs, where everprof is in it of {many}; and the \
             median ratio of peak resident memory.\n\n\
             | | w1 | w2 | w3 | w4 | memory w1 | w2 | w3 | w4 |\n|---|---|---|---|---|---|---|---|---|\n",
        );
        for pair in pairs {
            let is_own = pair.name.contains("everprof") || pair.name.contains("noise");
            let rounds = if is_own { many } else { few };
            let (mut times, mut memories) = (String::new(), String::new());
            for workload in ["w1", "w2", "w3", "w4"] {
                eprintln!("{workload} {}", pair.name);
                let runs = self.runs(&pair, workload, rounds)?;
                let memory = of_each(&runs, |figures| figures.peak_kib);
                let time = Ratio::of(&of_each(&runs, |figures| figures.cpu_seconds));
                write!(times, " {time} |")?;
                write!(memories, " {:.2} |", Ratio::of(&memory).median)?;
            }
            writeln!(table, "| {} |{times}{memories}", pair.name)?;
        }
        Ok(table)
    }

    /// A workload with and without, in turns.
    fn runs(&self, pair: &Pair, workload: &str, rounds: usize) -> Result<Vec<(Figures, Figures)>> {
        let scale = (self.scale * pair.shorter).to_string();
        let figures = |program: &Program| program.with(&[workload, &scale]).figures();
        in_turns(rounds, || figures(&pair.on), || figures(&pair.off))
    }

    // ---- instructions ----

    fn instructions(&self) -> Result<String> {
        tools::need("valgrind", "valgrind")?;
        self.build_peers()?;
        let never = ("EVERPROF", "heap=1TiB");
        let off = ("EVERPROF", "heap=0");
        let mut table = String::from(
            "Instructions of one allocation of 64 bytes and its free, as two runs under callgrind \
             differ (120,000 and 20,000 pairs).\n\n\
             | everprof over | bare | unsampled, align ≤ 8 | unsampled, align 16 | `heap=0`, align ≤ 8 | `heap=0`, align 16 | 512 KiB, samples included |\n\
             |---|---|---|---|---|---|---|\n",
        );
        let built = |names: [&str; 2]| names.map(|name| self.built(name));
        for (name, [bare, with]) in [
            ("System", built(["system", "everprof-system"])),
            ("jemalloc", built(["jemalloc", "everprof-jemalloc"])),
            ("mimalloc", built(["mimalloc-bare", "everprof-mimalloc"])),
            ("System, `lto = \"fat\"`", self.with_lto()?),
        ] {
            let (bare8, bare16) = (self.a_pair(&bare, "pair8")?, self.a_pair(&bare, "pair16")?);
            write!(table, "| {name} | {bare8:.1} |")?;
            for (workload, (key, value), bare) in [
                ("pair8", never, bare8),
                ("pair16", never, bare16),
                ("pair8", off, bare8),
                ("pair16", off, bare16),
                ("pair8", ("EVERPROF", "heap=512KiB"), bare8),
            ] {
                let count = self.a_pair(&with.clone().env(key, value), workload)?;
                write!(table, " {:+.2} |", count - bare)?;
            }
            table.push('\n');
        }
        table.push_str("\n| peer, samples included | bare | align ≤ 8 |\n|---|---|---|\n");
        for pair in self.pairs()? {
            let peer = !pair.name.contains("everprof") && !pair.name.contains("noise");
            // Under callgrind a preload would go into valgrind itself, and Go's
            // loop frees nothing.
            let plain = pair
                .on
                .environment
                .iter()
                .all(|(key, _)| *key != "LD_PRELOAD")
                && !pair.name.contains("Go")
                && !pair.name.contains("heaptrack");
            if peer && plain && pair.name.contains(&self.only) {
                let off = self.a_pair(&pair.off, "pair8")?;
                let on = self.a_pair(&pair.on, "pair8")?;
                writeln!(table, "| {} | {off:.1} | {:+.1} |", pair.name, on - off)?;
            }
        }
        Ok(table)
    }

    fn a_pair(&self, program: &Program, workload: &str) -> Result<f64> {
        eprintln!("callgrind {workload} {}", program.words.join(" "));
        let few = program.with(&[workload, "20000"]).instructions()?;
        let many = program.with(&[workload, "120000"]).instructions()?;
        Ok((many - few) / 100_000.0)
    }

    // ---- sample ----

    fn sample(&self) -> Result<String> {
        self.cargo_build("bench/Cargo.toml", &["sample"])?;
        let text = self.built("sample").with(&["time", "32"]).output()?;
        let mut table =
            String::from("| at depth 32, warm | nanoseconds | frames |\n|---|---|---|\n");
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, nanos, frames] = words[..] else {
                continue;
            };
            let name = match name {
                "capture" => "**stack alone, the same again**",
                "capture_varied" => "**stack alone, the 8 innermost frames vary**",
                "sampled_alloc" => "**whole sample: allocation, above bare System**",
                "sampled_free" => "**its free, above bare System**",
                "sampled_pair_varied" => "**allocation and free, the 8 innermost frames vary**",
                "libgcc" => "libgcc `_Unwind_Backtrace`",
                other => other,
            };
            writeln!(table, "| {name} | {nanos} | {frames} |")?;
        }
        if let Some(go) = self.go_program()? {
            let text = go.with(&["callers", "32"]).output()?;
            let (nanos, frames) = text
                .trim()
                .split_once(' ')
                .ok_or("Go's callers: no figures")?;
            let nanos: f64 = nanos.parse()?;
            writeln!(table, "| Go `runtime.Callers` | {nanos:.0} | {frames} |")?;
        }
        Ok(table)
    }

    // ---- snapshot ----

    fn snapshot(&self) -> Result<String> {
        self.cargo_build("bench/Cargo.toml", &["snapshot"])?;
        let program = self
            .built("snapshot")
            .env("EVERPROF", "memory_limit=512MiB");
        let text = program.with(&["100000"]).output()?;
        let mut table = String::from(
            "| 100,000 stacks of depth 32, names only | snapshot and assembly, ms of CPU time \
             | encoding | together | peak above idle, MiB | bytes |\n|---|---|---|---|---|---|\n",
        );
        for (index, line) in text.lines().enumerate() {
            let figures: Vec<f64> = line
                .split(' ')
                .filter_map(|word| word.parse().ok())
                .collect();
            let [assembly, encoding, above, bytes] = figures[..] else {
                continue;
            };
            let name = if index == 0 { "first" } else { "again" };
            writeln!(
                table,
                "| {name} | {assembly:.0} | {encoding:.0} | {:.0} | {:.1} | {bytes} |",
                assembly + encoding,
                above / 1024.0
            )?;
        }
        Ok(table)
    }

    // ---- run: unmodified programs ----

    fn run_programs(&self) -> Result<String> {
        let everprof = self.everprof_run()?;
        let mut ways: Vec<(&str, usize, Way)> = vec![(
            "**`everprof run`**",
            self.rounds,
            Box::new(move |program: &Program| program.under_all(&everprof)),
        )];
        if let Some(heaptrack) = on_path("heaptrack") {
            let trace = self.scratch("heaptrack");
            let way = move |program: &Program| program.under(&[&heaptrack, "-o", &trace]);
            // Many times as long, so that a few runs tell enough.
            ways.push(("heaptrack 1.4", self.rounds.min(3), Box::new(way)));
        }
        if let Some(jemalloc) = library("libjemalloc.so.2") {
            let way = move |program: &Program| {
                program
                    .clone()
                    .env("LD_PRELOAD", &jemalloc)
                    .env("MALLOC_CONF", JEMALLOC_ON)
            };
            ways.push(("jemalloc 5.3 prof, preloaded", self.rounds, Box::new(way)));
        }
        let programs = self.real_programs()?;
        let mut table =
            String::from("Time of the whole process ÷ without: median [least..greatest].\n\n|");
        for (name, _) in &programs {
            write!(table, " | {name}")?;
        }
        writeln!(table, " |\n|---{}|", "|---".repeat(programs.len()))?;
        for (name, rounds, way) in ways {
            write!(table, "| {name} |")?;
            for (what, program) in &programs {
                eprintln!("run {name} {what}");
                let with = way(program);
                let pairs = in_turns(rounds, || with.seconds(), || program.seconds())?;
                let ratios = pairs.iter().map(|(with, without)| with / without);
                write!(table, " {} |", Spread::of(ratios.collect()))?;
            }
            table.push('\n');
        }
        Ok(table)
    }

    /// Programs built by others, on every developer's machine; a second or less each.
    fn real_programs(&self) -> Result<Vec<(&'static str, Program)>> {
        let mut programs = Vec::new();
        // The compiler's formatter: Rust, allocates much, its own release build.
        let source = std::fs::read_to_string(self.root.join("xtask/src/bench/program.rs"))?;
        let mut many = String::new();
        for copy in 0..300 {
            writeln!(many, "mod m{copy} {{\n{source}\n}}")?;
        }
        let path = self.scratch("formatted.rs");
        std::fs::write(&path, many)?;
        let sysroot = Program::new(&["rustc", "--print", "sysroot"]).output()?;
        let rustfmt = format!("{}/bin/rustfmt", sysroot.trim());
        if Path::new(&rustfmt).exists() {
            let rustfmt = Program::new(&[&rustfmt, "--edition", "2024", "--emit", "stdout", &path]);
            programs.push(("rustfmt, 48,000 lines", rustfmt));
        }
        // What `python3` is on the path may be a script; the interpreter knows.
        if on_path("python3").is_some() {
            let ask = ["python3", "-c", "import sys; print(sys.executable)"];
            let python = Program::new(&ask).output()?;
            let code = "import json\nfor _ in range(2):\n    json.loads(json.dumps([{'id': i, \
                        'name': 'user%d' % i, 'tags': ['a', 'b%d' % i]} for i in range(60000)]))";
            // Else small objects come out of arenas of its own, unseen.
            let python = Program::new(&[python.trim(), "-c", code]).env("PYTHONMALLOC", "malloc");
            programs.push(("python3 with PYTHONMALLOC=malloc, JSON", python));
        }
        Ok(programs)
    }
}

/// One of the figures of each run.
fn of_each(runs: &[(Figures, Figures)], figure: fn(&Figures) -> f64) -> Vec<(f64, f64)> {
    runs.iter()
        .map(|(on, off)| (figure(on), figure(off)))
        .collect()
}

/// Runs both, `rounds` times after one that is thrown away, AB BA AB ….
fn in_turns<T>(
    rounds: usize,
    on: impl Fn() -> Result<T>,
    off: impl Fn() -> Result<T>,
) -> Result<Vec<(T, T)>> {
    let mut pairs = Vec::new();
    for round in 0..=rounds {
        let pair = if round % 2 == 0 {
            let on = on()?;
            (on, off()?)
        } else {
            let off = off()?;
            (on()?, off)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

fn write_between_markers(path: &Path, part: &str, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let (open, close) = (
        format!("<!-- bench {part} -->\n"),
        format!("<!-- end {part} -->"),
    );
    let place = text.find(&open).zip(text.find(&close));
    let (start, end) = place.ok_or_else(|| format!("{}: no {open}", path.display()))?;
    let text = format!("{}{table}{}", &text[..start + open.len()], &text[end..]);
    Ok(std::fs::write(path, text)?)
}
