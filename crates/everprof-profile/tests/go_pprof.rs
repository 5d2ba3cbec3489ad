//! Go's own pprof reads what we write.
//!
//! `testdata/heap.pb.gz` is what we write, `testdata/heap.txt` what `go tool pprof -raw`
//! reads in it. `EVERPROF_BLESS=1` writes both anew.

#![allow(clippy::unwrap_used)]

mod sample;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use everprof_profile::errorbars::PERIOD_LABEL;
use everprof_profile::pprof;
use everprof_profile::{Function, LOCK_FRAMES, Label, Line, Mapping, Profile, stacks, text};
use flate2::read::GzDecoder;

/// The `go` command: the one that is given, the one that was installed for the tests, or
/// the machine's.
fn go() -> OsString {
    if let Some(go) = env::var_os("EVERPROF_GO") {
        return go;
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin");
    let installed = fs::read_dir(tools)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let is_go = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("go"))
    };
    if let Some(go) = installed.filter(is_go).max() {
        return go.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|directory| directory.join("go").is_file()) {
        return "go".into();
    }
    panic!(
        "this test needs Go's pprof: run `cargo xtask test`, which installs it, or set EVERPROF_GO to a go command"
    );
}

/// What `go tool pprof` prints of a file.
#[track_caller]
fn pprof_prints(options: &[&str], file: &Path) -> String {
    let output = Command::new(go())
        .args(["tool", "pprof", "-symbolize=none"])
        .args(options)
        .arg(file)
        .env("TZ", "UTC")
        .env("GOTOOLCHAIN", "local")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

/// A file of this test's own.
fn scratch(name: &str, contents: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, contents).unwrap();
    path
}

fn encoded(profile: &Profile) -> Vec<u8> {
    let mut bytes = Vec::new();
    pprof::encode(profile, &mut bytes).unwrap();
    bytes
}

fn program() -> Mapping<'static> {
    Mapping {
        start: 0x1000,
        limit: 0x9000,
        file: "/bin/app",
        ..Mapping::default()
    }
}

fn is_blessing() -> bool {
    env::var_os("EVERPROF_BLESS").is_some_and(|value| !value.is_empty())
}

/// The sums of the samples' columns in what `-raw` prints.
fn raw_totals(raw: &str) -> Vec<i64> {
    let mut totals = Vec::new();
    let samples = raw
        .lines()
        .skip_while(|line| !line.starts_with("Samples:"))
        .skip(2);
    for line in samples.take_while(|line| !line.starts_with("Locations")) {
        // `bytes:[32]` and other labels stand below, after blanks.
        let Some((values, _)) = line.split_once(": ") else {
            continue;
        };
        let values: Option<Vec<i64>> = values
            .split_whitespace()
            .map(|value| value.parse().ok())
            .collect();
        let Some(values) = values else { continue };
        totals.resize(values.len(), 0);
        totals
            .iter_mut()
            .zip(values)
            .for_each(|(total, value)| *total += value);
    }
    totals
}

#[test]
fn encoding_is_the_golden_one() {
    let path = testdata("heap.pb.gz");
    if is_blessing() {
        fs::write(&path, encoded(&sample::heap())).unwrap();
    }
    // Uncompressed, because another version of the compressor may do better.
    let mut golden = Vec::new();
    GzDecoder::new(&*fs::read(&path).unwrap())
        .read_to_end(&mut golden)
        .unwrap();
    let mut ours = Vec::new();
    pprof::encode_plain(&sample::heap(), &mut ours).unwrap();
    assert!(golden == ours, "{} is not what we write", path.display());
}

#[test]
fn raw_is_the_golden_one() {
    let raw = pprof_prints(&["-raw"], &testdata("heap.pb.gz"));
    let path = testdata("heap.txt");
    if is_blessing() {
        fs::write(&path, &raw).unwrap();
    }
    assert_eq!(raw, fs::read_to_string(&path).unwrap());
    assert_eq!(raw_totals(&raw), sample::heap().totals());
}

#[test]
fn dropped_frames_leave_the_caller_at_the_leaf() {
    let top = pprof_prints(
        &["-top", "-sample_index=inuse_space"],
        &testdata("heap.pb.gz"),
    );
    let flat_of = |name: &str| {
        let line = top.lines().find(|line| line.contains(name))?;
        Some(line.split_whitespace().next()?.to_owned())
    };
    assert_eq!(flat_of("Vec").as_deref(), Some("48kB"), "{top}");
    assert_eq!(
        flat_of("shop::index::load").as_deref(),
        Some("1024kB"),
        "{top}"
    );
    assert_eq!(flat_of("shop::main").as_deref(), Some("0"), "{top}");
    for dropped in ["raw_vec", "__rust_alloc", "exchange_malloc"] {
        assert!(!top.contains(dropped), "{top}");
    }
    let showing = "of 1072.12kB total";
    assert!(top.contains(showing), "{top}");
}

#[test]
fn heap_text_is_read_with_the_same_totals() {
    let profile = sample::heap();
    let mut text = Vec::new();
    text::write_debug1(&profile, "heap", &mut text).unwrap();
    let raw = pprof_prints(&["-raw"], &scratch("heap.debug1", &text));
    assert!(
        raw.contains("alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes")
    );
    assert_eq!(raw_totals(&raw), profile.totals());
    assert!(
        raw.contains("/usr/local/bin/shop 0f1e2d3c4b5a69788796a5b4c3d2e1f000112233"),
        "{raw}"
    );
}

#[test]
fn contention_text_is_read_with_the_same_totals() {
    let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
    let mapping = profile.add_mapping(program());
    for address in 1..4u64 {
        let at = profile.add_location(address << 12, Some(mapping));
        profile.push_sample(&[at], &[address as i64, address as i64 * 1_000_003], &[]);
    }
    for name in ["block", "mutex"] {
        let mut text = Vec::new();
        text::write_debug1(&profile, name, &mut text).unwrap();
        let raw = pprof_prints(&["-raw"], &scratch(&format!("{name}.debug1"), &text));
        assert_eq!(raw_totals(&raw), profile.totals(), "{raw}");
    }
}

#[test]
fn count_text_is_read_with_the_same_totals() {
    let mut profile = Profile::new(&[("threads", "count")]);
    let mapping = profile.add_mapping(program());
    let at = profile.add_location(0x1234, Some(mapping));
    profile.push_sample(&[at, at], &[41], &[Label::string("tenant", "blue")]);
    profile.push_sample(&[], &[1], &[]);
    let mut text = Vec::new();
    text::write_debug1(&profile, "threads", &mut text).unwrap();
    let raw = pprof_prints(&["-raw"], &scratch("threads.debug1", &text));
    assert_eq!(raw_totals(&raw), [42], "{raw}");
    assert!(raw.contains("0x1000/0x9000/0x0 /bin/app"), "{raw}");
}

/// A program that waits for a lock: `main` → `work` → std's lock → futex.
fn waits() -> Profile {
    let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
    profile.set_default_sample_type("delay");
    profile.set_period_type("contentions", "count");
    profile.period = 1;
    profile.set_drop_frames(LOCK_FRAMES);
    let mapping = profile.add_mapping(program());
    let stack: Vec<_> = [
        "std::sys::pal::unix::futex::futex_wait",
        "<std::sys::sync::mutex::futex::Mutex>::lock_contended",
        "<std::sync::poison::mutex::Mutex<T>>::lock",
        "app::work",
        "app::main",
    ]
    .into_iter()
    .zip(1u64..)
    .map(|(name, n)| {
        let function = profile.add_function(Function {
            name,
            system_name: name,
            ..Function::default()
        });
        let at = profile.add_location(n << 12, Some(mapping));
        let line = Line {
            function,
            line: 1,
            column: 0,
        };
        profile.set_lines(at, &[line]);
        at
    })
    .collect();
    for (period, values) in [(1, [7, 9_000_000]), (1_000_000, [160, 10_000_000])] {
        let labels = [
            Label::number(PERIOD_LABEL, period, "nanoseconds"),
            Label::string("wait", "mutex"),
        ];
        profile.push_sample(&stack, &values, &labels);
    }
    profile
}

#[test]
fn waits_are_read_as_delays_at_the_lock() {
    let file = scratch("block.pb.gz", &encoded(&waits()));
    let top = pprof_prints(&["-top"], &file);
    assert!(top.contains("Type: delay"), "{top}");
    let leaf = top.lines().find(|line| line.contains("Mutex<T>>::lock"));
    assert_eq!(
        leaf.unwrap().split_whitespace().next(),
        Some("19ms"),
        "{top}"
    );
    assert!(!top.contains("futex_wait"), "{top}");
    let tags = pprof_prints(&["-tags"], &file);
    assert!(
        tags.contains("wait: Total") && tags.contains("mutex"),
        "{tags}"
    );
}

#[test]
fn waits_as_text_are_read_as_gos_are() {
    for (name, period) in [("block", ""), ("mutex", "sampling period=1\n")] {
        let mut text = Vec::new();
        text::write_debug1(&waits(), name, &mut text).unwrap();
        let word = if name == "mutex" {
            "mutex"
        } else {
            "contention"
        };
        let head = format!("--- {word}:\ncycles/second=1000000000\n{period}19000000 167 @ 0x1001");
        assert!(
            text.starts_with(head.as_bytes()),
            "{}",
            String::from_utf8_lossy(&text)
        );
        let raw = pprof_prints(&["-raw"], &scratch(&format!("{name}.waits.debug1"), &text));
        assert_eq!(raw_totals(&raw), waits().totals(), "{raw}");
    }
}

#[test]
fn threads_are_read_with_what_they_do() {
    let mut profile = Profile::new(&[("threads", "count")]);
    let mapping = profile.add_mapping(program());
    let at = profile.add_location(0x1234, Some(mapping));
    for id in 7..9 {
        let labels = [
            Label::number(stacks::ID_LABEL, id, ""),
            Label::string(stacks::NAME_LABEL, "worker"),
            Label::string(stacks::STATE_LABEL, "mutex 0x7f10, 3.2 s"),
            Label::string(stacks::CREATOR_LABEL, "app::main\n\tsrc/main.rs:1"),
        ];
        profile.push_sample(&[at], &[1], &labels);
    }
    let raw = pprof_prints(&["-raw"], &scratch("threads.pb.gz", &encoded(&profile)));
    assert_eq!(raw_totals(&raw), [2], "{raw}");
    assert!(raw.contains("thread_state:[mutex 0x7f10, 3.2 s]"), "{raw}");
}

#[test]
fn merged_and_subtracted_profiles_are_read() {
    let (heap, empty) = (sample::heap(), Profile::merge(&[&sample::heap()]).unwrap());
    let both = Profile::merge(&[&heap, &empty]).unwrap();
    let raw = pprof_prints(&["-raw"], &scratch("merged.pb.gz", &encoded(&both)));
    let twice: Vec<i64> = heap.totals().iter().map(|total| total * 2).collect();
    assert_eq!(raw_totals(&raw), twice);
    let delta = both.delta(&heap).unwrap();
    let raw = pprof_prints(&["-raw"], &scratch("delta.pb.gz", &encoded(&delta)));
    assert_eq!(raw_totals(&raw), heap.totals());
}

#[test]
fn empty_profile_is_read() {
    let mut profile = Profile::new(&[("inuse_space", "bytes")]);
    profile.add_mapping(Mapping {
        file: "/bin/app",
        ..Mapping::default()
    });
    let raw = pprof_prints(&["-raw"], &scratch("empty.pb.gz", &encoded(&profile)));
    assert!(raw.contains("inuse_space/bytes"), "{raw}");
}
