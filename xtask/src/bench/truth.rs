//! Profiles of waits beside clocks around the locks (`bench/truth`).

use std::fmt::Write as _;

use super::program::Program;
use super::{Bench, Result};

const LOCKS: [&str; 2] = ["std", "parking_lot"];
/// Lengths of the section within the lock.
const MICROS: [&str; 3] = ["1", "10", "100"];
const THREADS: [&str; 3] = ["2", "4", "8"];

impl Bench {
    /// Five who hold a lock one after the other, and what each is charged with.
    pub(super) fn contenders(&self) -> Result<String> {
        self.cargo_build("bench/Cargo.toml", &["truth"])?;
        let truth = self.built("truth");
        let mut ways: Vec<_> = LOCKS
            .map(|lock| (lock, truth.with(&["contenders", lock])))
            .into();
        if let Some(go) = self.go_program()? {
            ways.push(("Go's sync.Mutex", go.with(&["contenders"])));
        }
        let mut table = String::from(
            "Milliseconds that others waited during a holder's turn, by clocks → as its unlock \
             was charged, in the order of how long it held the lock.\n\n\
             | | 200 ms | 400 ms | 600 ms | 800 ms | 1000 ms | furthest off |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for (name, program) in ways {
            eprintln!("contenders {name}");
            writeln!(table, "| {name} |{}", row(&program)?)?;
        }
        Ok(table)
    }

    /// Of the time that threads have waited for a lock, how much a profile of all waits shows.
    pub(super) fn share(&self) -> Result<String> {
        self.cargo_build("bench/Cargo.toml", &["truth"])?;
        let mut table = String::from(
            "Delay of the block profile's samples of kind `mutex` ÷ clocks around each lock that \
             was not free; period 1 ns.\n\n| section |",
        );
        for threads in THREADS {
            write!(table, " {threads} threads |")?;
        }
        writeln!(table, "\n|---{}|", "|---".repeat(THREADS.len()))?;
        for lock in LOCKS {
            for micros in MICROS {
                write!(table, "| {lock}, {micros} µs |")?;
                for threads in THREADS {
                    eprintln!("share {lock} {micros} {threads}");
                    let program = self.built("truth");
                    let program = program.with(&["share", lock, threads, micros, "2"]);
                    let text = program.output()?;
                    let figures: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
                    let [truth, seen] = figures[..] else {
                        return Err(format!("truth: printed no figures:\n{text}").into());
                    };
                    write!(table, " {:.1} % |", 100.0 * seen / truth)?;
                }
                table.push('\n');
            }
        }
        Ok(table)
    }
}

fn row(program: &Program) -> Result<String> {
    let text = program.output()?;
    let (mut row, mut furthest) = (String::new(), 0.0_f64);
    for line in text.lines() {
        let figures: Vec<f64> = line.split(' ').flat_map(str::parse).collect();
        let [truth, charged] = figures[..] else {
            return Err(format!("contenders: `{line}`: expected two figures").into());
        };
        write!(row, " {truth:.0} → {charged:.0} |")?;
        // Of a turn in which nobody waited, as the last one's, nothing is a share.
        if truth > 0.0 {
            furthest = furthest.max((charged / truth - 1.0).abs());
        }
    }
    write!(row, " {:.1} % |", 100.0 * furthest)?;
    Ok(row)
}
