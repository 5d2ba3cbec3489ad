//! How fast a trace is read: ours, and heaptrack's own by its own reader.
//!
//! Ours is made by `bench/trace`, of any length and never kept; heaptrack's is of workload
//! `w2`, which allocates as that does. Each reads its file and follows its objects.

use std::fmt::Write as _;
use std::path::Path;

use super::peers::on_path;
use super::program::{Program, Spread};
use super::{Bench, Result};

/// Of the made trace, at scale 1.
const EVENTS: f64 = 50e6;

/// One reader's runs.
struct Reading {
    name: String,
    events: f64,
    bytes: f64,
    /// By the clock or of CPU time.
    seconds: Vec<f64>,
    peak_kib: Option<f64>,
}

impl Bench {
    pub(super) fn trace_read(&self) -> Result<String> {
        self.cargo_build("bench/Cargo.toml", &["trace", "system"])?;
        let mut table = format!(
            "By {}, median [least..greatest] of {} runs.\n\n\
             | | events | bytes an event | million events a second | peak resident memory, MiB |\n\
             |---|---|---|---|---|\n",
            if self.cpu { "CPU time" } else { "the clock" },
            self.rounds.min(5)
        );
        let mut readings = vec![self.read_ours()?];
        if let Some(tool) = on_path("heaptrack").zip(on_path("heaptrack_print")) {
            readings.push(self.read_heaptracks(&tool)?);
        }
        for reading in readings {
            let speeds = reading.seconds.iter();
            let speeds = Spread::of(speeds.map(|s| reading.events / s / 1e6).collect());
            let memory = reading.peak_kib.map(|kib| format!("{:.0}", kib / 1024.0));
            writeln!(
                table,
                "| {} | {:.1} million | {:.1} | {speeds} | {} |",
                reading.name,
                reading.events / 1e6,
                reading.bytes / reading.events,
                memory.unwrap_or_default()
            )?;
        }
        Ok(table)
    }

    fn read_ours(&self) -> Result<Reading> {
        let file = self.scratch("made.trace");
        let events = EVENTS * self.scale;
        let program = self.built("trace");
        let count = format!("{events:.0}");
        program.with(&["write", &file, &count]).output()?;
        let bytes = std::fs::metadata(&file)?.len() as f64;
        let (mut seconds, mut peak_kib) = (Vec::new(), 0.0f64);
        for _ in 0..self.rounds.min(5) {
            let figures = program.with(&["read", &file]).figures()?;
            seconds.push(match self.cpu {
                true => figures.cpu_seconds,
                false => figures.wall_seconds,
            });
            peak_kib = peak_kib.max(figures.peak_kib);
        }
        std::fs::remove_file(&file)?;
        Ok(Reading {
            name: "**everprof trace**, four threads".to_owned(),
            events,
            bytes,
            seconds,
            peak_kib: Some(peak_kib),
        })
    }

    fn read_heaptracks(&self, (heaptrack, print): &(String, String)) -> Result<Reading> {
        let trace = self.scratch("heaptrack-read");
        let scale = self.scale.to_string();
        let program = self.built("system").with(&["w2", &scale]);
        program.under(&[heaptrack, "-o", &trace]).output()?;
        let file = ["zst", "gz"]
            .map(|suffix| format!("{trace}.{suffix}"))
            .into_iter()
            .find(|file| Path::new(file).exists())
            .ok_or("heaptrack: wrote no file")?;
        // A line is an event if it begins with one of these.
        let count =
            "case $1 in *.zst) zstd -dc \"$1\";; *) gzip -dc \"$1\";; esac | grep -c '^[+-]'";
        let events = Program::new(&["sh", "-c", count, "sh", &file]).output()?;
        let bytes = std::fs::metadata(&file)?.len() as f64;
        // bash tells CPU time, which nothing here could ask for.
        let timed = "TIMEFORMAT='%R %U %S'; { time \"$@\" >/dev/null 2>&1; } 2>&1";
        let print = Program::new(&["bash", "-c", timed, "bash", print, "-f", &file]);
        let mut seconds = Vec::new();
        for _ in 0..self.rounds.min(5) {
            let said = print.output()?;
            let times: Vec<f64> = said
                .split_whitespace()
                .map_while(|word| word.parse().ok())
                .collect();
            let [clock, user, system] = times[..] else {
                return Err(format!("heaptrack_print: {said}").into());
            };
            seconds.push(if self.cpu { user + system } else { clock });
        }
        std::fs::remove_file(&file)?;
        Ok(Reading {
            name: "heaptrack_print, its own file of w2, compressed".to_owned(),
            events: events.trim().parse()?,
            bytes,
            seconds,
            peak_kib: None,
        })
    }
}
