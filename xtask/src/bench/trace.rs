//! What tracing every allocation costs: ours, and those that record as much.
//!
//! Each workload is compared with itself, not traced. Files go to a scratch place and are
//! looked at for one thing only: how many bytes an event takes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::peers::{Pair, on_path};
use super::program::Spread;
use super::{Bench, Result, of_each};

/// w1 has no share of work of its own, and w4 is w2 on threads.
const WORKLOADS: [&str; 2] = ["w2", "w3"];

impl Bench {
    pub(super) fn trace(&self) -> Result<String> {
        let file = self.scratch("trace");
        let mut table = format!(
            "Traced ÷ not traced: median [least..greatest] of {} pairs of runs by {}; bytes of \
             the file for each event.\n\n\
             | | w2 | w3 | bytes w2 | w3 |\n|---|---|---|---|---|\n",
            self.rounds,
            if self.cpu { "CPU time" } else { "the clock" }
        );
        for pair in self.tracers(&file)? {
            if !pair.name.contains(&self.only) {
                continue;
            }
            let (mut times, mut bytes) = (String::new(), String::new());
            for workload in WORKLOADS {
                eprintln!("trace {workload} {}", pair.name);
                let _ = fs::remove_file(&file);
                let runs = self.runs(&pair, workload, self.rounds)?;
                let seconds = if self.cpu {
                    of_each(&runs, |figures| figures.cpu_seconds)
                } else {
                    of_each(&runs, |figures| figures.wall_seconds)
                };
                let time = Spread::of(seconds.iter().map(|(on, off)| on / off).collect());
                write!(times, " {time} |")?;
                match bytes_an_event(Path::new(&file)) {
                    Some(each) => write!(bytes, " {each:.1} |")?,
                    None => bytes.push_str(" |"),
                }
            }
            writeln!(table, "| {} |{times}{bytes}", pair.name)?;
        }
        let _ = fs::remove_file(&file);
        Ok(table)
    }

    fn tracers(&self, file: &str) -> Result<Vec<Pair>> {
        let packages = ["system", "everprof-system", "with-dhat"];
        self.cargo_build("bench/Cargo.toml", &packages)?;
        let (system, ours) = (self.built("system"), self.built("everprof-system"));
        let pair = |name, on, off, shorter| Pair {
            name,
            on,
            off,
            shorter,
        };
        let mut run = self.everprof_run()?;
        let end = run.len() - 1;
        run.splice(end..end, ["--trace".to_owned(), file.to_owned()]);
        let traced = ours.clone().env("EVERPROF", &format!("trace={file}"));
        let mut pairs = vec![
            pair("**everprof over System**", traced, system.clone(), 0.3),
            pair(
                "**`everprof run --trace`**",
                system.under_all(&run),
                system.clone(),
                0.3,
            ),
            pair("dhat 0.3", self.built("with-dhat"), system.clone(), 0.02),
        ];
        if let Some(heaptrack) = on_path("heaptrack") {
            let on = system.under(&[&heaptrack, "-o", &self.scratch("heaptrack")]);
            pairs.push(pair("heaptrack 1.4", on, system, 0.02));
        }
        if let Some(go) = self.go_program()? {
            let on = go.clone().env("PROFILE", "1");
            pairs.push(pair(
                "Go, `MemProfileRate = 1`",
                on,
                go.env("PROFILE", "0"),
                0.1,
            ));
        }
        Ok(pairs)
    }
}

/// Of a whole trace of ours; none of anything else.
fn bytes_an_event(path: &Path) -> Option<f64> {
    // docs/trace-format.md: a head of 16 bytes; kind, length and checksum of each block.
    const HEAD: usize = 16;
    const BLOCK_HEAD: usize = 9;
    const END: u8 = 8;
    let bytes = fs::read(path).ok()?;
    let mut rest = bytes.get(HEAD..)?;
    loop {
        let (kind, length) = (*rest.first()?, rest.get(1..5)?);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let (payload, after) = rest.get(BLOCK_HEAD..)?.split_at_checked(length)?;
        if kind == END {
            let events = first_number(payload);
            return Some(bytes.len() as f64 / events as f64);
        }
        rest = after;
    }
}

/// The LEB128 number that the bytes begin with.
fn first_number(bytes: &[u8]) -> u64 {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}
