//! `cargo xtask fast-path`: what everprof adds to an unsampled allocation and its free, and
//! to a lock that nobody waits for, in instructions, loads, stores, branches, calls and
//! locked operations; with `--check`, compared with the golden file.
//!
//! Pairs of programs that differ in their `#[global_allocator]` alone run under
//! callgrind, each twice. The difference of the two runs has start and end
//! removed, so that what is left is a whole number a pair and the same on
//! every run, whatever else the machine does. The golden file holds only what
//! everprof adds: what the C library's malloc costs is not ours to pin.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::report::{Outcome, Report, output};
use crate::{tools, workspace};

/// The cases: the pair of programs that does each (`fast_path_bare` and
/// `fast_path_everprof`, and so on), its name there, and what it means.
const CASES: &[(&str, &str, &str)] = &[
    ("fast_path", "align8", "alloc and free, 64 B, align 8"),
    (
        "fast_path",
        "unknown",
        "the same, layout not known to the compiler",
    ),
    (
        "fast_path",
        "even16",
        "alloc and free, 64 B, align 16, even multiple",
    ),
    (
        "fast_path",
        "odd16",
        "alloc and free, 64 B, align 16, odd multiple",
    ),
    (
        "fast_path",
        "zeroed",
        "alloc_zeroed and free, 64 B, align 8",
    ),
    (
        "fast_path",
        "grow",
        "alloc, realloc 64 B to 96 B, free, align 8",
    ),
    (
        "fast_path_locks",
        "mutex",
        "Mutex, lock and unlock, nobody waits",
    ),
    (
        "fast_path_locks",
        "rwlock",
        "RwLock, read and write, nobody waits",
    ),
    (
        "fast_path_locks",
        "parking_lot",
        "parking_lot::Mutex, the same",
    ),
];

/// How the programs are built: as cargo does without being told, where the allocator
/// is in another crate than its thread-local countdown, and as one piece, where the
/// compiler sees both. The cases that are counted there.
const BUILDS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "",
        &[
            "align8",
            "unknown",
            "even16",
            "odd16",
            "zeroed",
            "grow",
            "mutex",
            "rwlock",
            "parking_lot",
        ],
    ),
    ("fat", "fat LTO: ", &["align8", "unknown"]),
];

/// The settings that the path of an unsampled event may depend on. A period
/// of 1 TiB does what one of 512 KiB does, and samples nothing of so short a run.
const SETTINGS: &[(&str, &str)] = &[("heap=1099511627776", "sampling"), ("heap=0", "heap=0")];

/// Callgrind's event of each column; calls are counted apart.
const COLUMNS: &[(&str, &str)] = &[
    ("instructions", "Ir"),
    ("loads", "Dr"),
    ("stores", "Dw"),
    ("branches", "Bc"),
    ("calls", "calls"),
    ("locked", "Ge"),
];

/// Pairs in the shorter and in the longer run.
const PAIRS: (u64, u64) = (20_000, 120_000);

/// Counts per pair, in the order of [`COLUMNS`].
type Counts = Vec<i64>;

/// Counts, prints, and compares with the golden file or rewrites it.
pub fn run(report: &mut Report, arguments: &[String]) -> Outcome {
    let check = match arguments {
        [] => false,
        [word] if word == "--check" => true,
        _ => return Err("fast-path: expected nothing or --check".into()),
    };
    report.section("instructions of the unsampled path");
    tools::need("valgrind", "valgrind").map_err(|error| format!("NOT RUN: {error}"))?;
    let golden = golden_path();
    if check && !golden.exists() {
        let missing = golden.display();
        return Err(format!("{missing} does not exist: nothing to compare with"));
    }
    let text = table(&measure()?)?;
    print!("{text}");
    if !check {
        return fs::write(&golden, text).map_err(|e| format!("{}: {e}", golden.display()));
    }
    let expected = fs::read_to_string(&golden);
    compare(
        &expected.map_err(|e| format!("{}: {e}", golden.display()))?,
        &text,
    )
}

fn golden_path() -> PathBuf {
    let name = format!("fast_path.{}.golden", std::env::consts::ARCH);
    workspace::root().join("crates/everprof").join(name)
}

/// Every case with sampling on and off, everprof minus bare, in every build.
fn measure() -> Outcome<Vec<(String, Counts)>> {
    let mut rows = Vec::new();
    for (lto, prefix, cases) in BUILDS {
        measure_build(lto, prefix, cases, &mut rows)?;
    }
    Ok(rows)
}

fn measure_build(
    lto: &str,
    prefix: &str,
    cases: &[&str],
    rows: &mut Vec<(String, Counts)>,
) -> Outcome {
    let programs = build(lto)?;
    let program = |name: String| {
        programs
            .get(&name)
            .ok_or_else(|| format!("no example {name}"))
    };
    for (pair, case, meaning) in CASES.iter().filter(|(_, case, _)| cases.contains(case)) {
        let bare = program(format!("{pair}_bare"))?;
        let ours = program(format!("{pair}_everprof"))?;
        let base = per_pair(bare, case, "")?;
        for (setting, words) in SETTINGS {
            let with = per_pair(ours, case, setting)?;
            let added = with
                .iter()
                .zip(&base)
                .map(|(with, base)| with - base)
                .collect();
            rows.push((format!("{prefix}{meaning}; {words}"), added));
        }
    }
    Ok(())
}

/// Builds the programs as a user would, with `lto` if it is not empty, and finds them.
fn build(lto: &str) -> Outcome<BTreeMap<String, PathBuf>> {
    let mut cargo = workspace::cargo();
    if !lto.is_empty() {
        cargo.env("CARGO_PROFILE_RELEASE_LTO", lto);
        cargo.env("CARGO_TARGET_DIR", workspace::target_for("lto"));
    }
    cargo.args([
        "build",
        "--release",
        "-p",
        "xtask",
        "--examples",
        "--message-format=json",
    ]);
    let messages = output(&mut cargo)?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages
        .filter_map(|message| {
            let executable = PathBuf::from(message["executable"].as_str()?);
            Some((message["target"]["name"].as_str()?.to_owned(), executable))
        })
        .collect())
}

/// The difference of a long and a short run, divided by the difference of their pairs.
///
/// What a program does before its first pair depends on where the kernel has put it, seldom by
/// enough to be seen; then it is run again.
fn per_pair(program: &Path, case: &str, setting: &str) -> Outcome<Counts> {
    const ATTEMPTS: usize = 3;
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match counted_per_pair(program, case, setting)? {
            Ok(counts) => return Ok(counts),
            Err(each) => last = format!("{case} {setting}: {each} a pair is no whole number"),
        }
    }
    Err(last)
}

/// `Err`: what is no whole number.
fn counted_per_pair(program: &Path, case: &str, setting: &str) -> Outcome<Result<Counts, f64>> {
    let (short, long) = PAIRS;
    let [short_total, long_total] =
        [short, long].map(|pairs| totals(program, case, setting, pairs));
    let differences = long_total?
        .into_iter()
        .zip(short_total?)
        .map(|(long, short)| long - short);
    let pairs = (long - short) as f64;
    let counts = differences.map(|difference| {
        let each = difference as f64 / pairs;
        // Hash seeds and the like differ between runs by some hundred instructions.
        if (each - each.round()).abs() > 0.02 {
            return Err(each);
        }
        Ok(each.round() as i64)
    });
    Ok(counts.collect())
}

fn totals(program: &Path, case: &str, setting: &str, pairs: u64) -> Outcome<Vec<i64>> {
    let file = std::env::temp_dir().join(format!("everprof-callgrind-{}", std::process::id()));
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--tool=callgrind",
        "--cache-sim=yes",
        "--branch-sim=yes",
        "--collect-bus=yes",
    ]);
    valgrind.arg(format!("--callgrind-out-file={}", file.display()));
    valgrind
        .arg(program)
        .args([case, &pairs.to_string()])
        .env("EVERPROF", setting);
    let ran = valgrind
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let ran = ran.map_err(|error| format!("valgrind: {error}"))?;
    let text = fs::read_to_string(&file);
    // It may be absent: the run's own failure is the one to tell.
    let _ = fs::remove_file(&file);
    if !ran.status.success() {
        let words = String::from_utf8_lossy(&ran.stderr).into_owned();
        return Err(format!(
            "{} under callgrind: {}\n{words}",
            program.display(),
            ran.status
        ));
    }
    read_totals(&text.map_err(|error| format!("{}: {error}", file.display()))?)
}

/// The totals of a callgrind file, in the order of [`COLUMNS`].
fn read_totals(text: &str) -> Outcome<Vec<i64>> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let names = field("events:").ok_or("callgrind's file names no events")?;
    let values = field("totals:").or_else(|| field("summary:"));
    let values = values.ok_or("callgrind's file has no totals")?;
    let values = values
        .split_whitespace()
        .map(|value| value.parse::<i64>().unwrap_or(0));
    let events: BTreeMap<&str, i64> = names.split_whitespace().zip(values).collect();
    let calls = text.lines().filter_map(|line| line.strip_prefix("calls="));
    let calls = calls.filter_map(|line| line.split_whitespace().next()?.parse::<i64>().ok());
    let calls: i64 = calls.sum();
    COLUMNS
        .iter()
        .map(|(_, event)| match *event {
            "calls" => Ok(calls),
            // Callgrind leaves trailing zero columns, and events never seen, away.
            event => Ok(events.get(event).copied().unwrap_or(0)),
        })
        .collect()
}

/// The text of the golden file.
fn table(rows: &[(String, Counts)]) -> Outcome<String> {
    let rustc = output(
        Command::new("rustc")
            .arg("-V")
            .current_dir(workspace::root()),
    )?;
    let rustc = rustc.split_whitespace().nth(1).unwrap_or("unknown");
    let mut text = format!(
        "Added by everprof to what System and the locks cost, per case, on {}.\n\
         Written by `cargo xtask fast-path`. A difference is argued in its commit.\n\
         A subtraction in memory counts as one store.\n\
         rustc {rustc}\n\n{:<62}",
        std::env::consts::ARCH,
        "case"
    );
    for (column, _) in COLUMNS {
        text += &format!("{column:>13}");
    }
    text.push('\n');
    for (case, counts) in rows {
        text += &format!("{case:<62}");
        for count in counts {
            text += &format!("{count:>13}");
        }
        text.push('\n');
    }
    Ok(text)
}

/// The same compiler must give the same counts; another one, none greater.
fn compare(golden: &str, counted: &str) -> Outcome {
    if golden == counted {
        return Ok(());
    }
    let (golden, same_rustc) = (parse(golden), rustc_of(golden) == rustc_of(counted));
    let counted = parse(counted);
    for (case, counts) in &counted {
        let Some(expected) = golden.get(case) else {
            return Err(format!(
                "the golden file has no case `{case}`: write it anew"
            ));
        };
        let greater = counts
            .iter()
            .zip(expected)
            .any(|(count, expected)| count > expected);
        if greater || (same_rustc && counts != expected) {
            return Err(format!(
                "{case}: counted {counts:?}, golden {expected:?}; if it is meant, write the \
                 golden file anew with `cargo xtask fast-path` and argue it in the commit"
            ));
        }
    }
    match golden.keys().find(|case| !counted.contains_key(*case)) {
        Some(case) => Err(format!("case `{case}` of the golden file was not counted")),
        None => Ok(()),
    }
}

fn rustc_of(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("rustc "))
}

/// Case → counts, of the lines that end in as many numbers as there are columns.
fn parse(text: &str) -> BTreeMap<String, Counts> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (case, counts) = words.split_at_checked(words.len().checked_sub(COLUMNS.len())?)?;
        let counts: Result<Counts, _> = counts.iter().map(|count| count.parse()).collect();
        (!case.is_empty()).then_some((case.join(" "), counts.ok()?))
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CALLGRIND: &str = "version: 1\nevents: Ir Dr Dw I1mr Bc Ge\nfn=(1) main\n\
        16 400 20\ncalls=30 50\n16 400\ncalls=12 0\n16 9\ntotals: 900 80 70 1 33 2\n";

    fn golden(rustc: &str, instructions: i64) -> String {
        format!("Added\nrustc {rustc}\n\ncase instructions\nalloc; on {instructions} 1 1 2 0 0\n")
    }

    #[test]
    fn totals_and_calls_of_a_callgrind_file_are_read() {
        assert_eq!(read_totals(CALLGRIND).unwrap(), [900, 80, 70, 33, 42, 2]);
    }

    #[test]
    fn event_that_never_happened_is_zero() {
        let text = CALLGRIND.replace(" Ge", "").replace(" 33 2\n", " 33\n");
        assert_eq!(read_totals(&text).unwrap()[5], 0);
    }

    #[test]
    fn table_can_be_read_back() {
        let rows = vec![("alloc and free; on".to_owned(), vec![5, 1, 1, 2, 0, 0])];
        assert_eq!(parse(&table(&rows).unwrap()), rows.into_iter().collect());
    }

    #[test]
    fn same_compiler_must_give_the_same_counts() {
        assert!(compare(&golden("1", 5), &golden("1", 5)).is_ok());
        assert!(compare(&golden("1", 5), &golden("1", 6)).is_err());
        assert!(compare(&golden("1", 5), &golden("1", 4)).is_err());
    }

    #[test]
    fn other_compiler_may_give_fewer_but_not_more() {
        assert!(compare(&golden("1", 5), &golden("2", 4)).is_ok());
        assert!(compare(&golden("1", 5), &golden("2", 6)).is_err());
    }

    #[test]
    fn case_that_was_not_counted_is_missed() {
        assert!(compare(&golden("1", 5), "rustc 2\n").is_err());
    }
}
