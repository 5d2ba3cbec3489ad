//! `everprof run --trace`: every event of a program that knows nothing of it.
#![allow(clippy::unwrap_used)]

mod launch;

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use everprof_profile::trace::{Reader, What};
use launch::{compile, compile_rust, room, run, success};
use tempfile::TempDir;

#[test]
fn every_object_of_ten_threads_comes_and_goes_in_the_trace() {
    let room = room();
    let program = compile_rust(&room, "threads.rs", &[]);
    let (profiles, trace) = (room.path().join("out"), room.path().join("events"));
    // What is there already is not mistaken for another process's.
    fs::write(&trace, "old").unwrap();
    let options = ["-q", "--trace", trace.to_str().unwrap()];
    let (out, _) = success(run(&profiles, &options).arg(program).output().unwrap());
    assert_eq!(out, "10000\n");

    let mut reader = Reader::new(File::open(&trace).unwrap()).unwrap();
    let mut in_use = HashMap::new();
    let (mut of_2000, mut freed_2000, mut grown) = (0, 0, 0);
    while let Some(event) = reader.next_event() {
        match event.what {
            What::Alloc {
                size_bytes,
                address,
                ..
            } => {
                of_2000 += u32::from(size_bytes == 2000);
                let before = in_use.insert(address, size_bytes);
                assert_eq!(before, None, "{address:#x} came twice");
            }
            What::Free { address } => {
                freed_2000 += u32::from(in_use.remove(&address) == Some(2000));
            }
            What::Realloc {
                old_address,
                size_bytes,
                address,
                ..
            } => {
                grown += u32::from(size_bytes == 1000);
                in_use.remove(&old_address);
                in_use.insert(address, size_bytes);
            }
            _ => {}
        }
    }
    let ending = reader.ending();
    assert!(ending.to_string().starts_with("whole"), "{ending}");
    assert_eq!(ending.totals.unwrap().lost, 0);
    assert_eq!((of_2000, freed_2000), (10_000, 10_000));
    // What the channel has of this size is gone by the end.
    let kept = in_use.values().filter(|size_bytes| **size_bytes == 1000);
    assert_eq!((kept.count(), grown), (10_010, 10));
    let main = &reader.tables().threads()[0];
    assert_eq!(main.name, "threads_rs");
}

#[test]
fn a_trace_that_cannot_be_written_is_told_before_the_program_starts() {
    let room = room();
    let here = room.path().to_str().unwrap();
    for (path, expected) in [
        (
            "/nowhere/at/all",
            "cannot write a trace to `/nowhere/at/all`",
        ),
        (here, "is a directory: expected the path of a file"),
    ] {
        let output = run(&room.path().join("out"), &["--trace", path])
            .args(["sh", "-c", "echo started"])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{told}");
        assert!(output.stdout.is_empty());
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_program_that_replaces_itself_has_the_last_ones_trace_in_the_file() {
    for further in [&[][..], &["--children"]] {
        let room = room();
        let (profiles, trace) = (room.path().join("out"), room.path().join("events"));
        let options = [&["-q", "--trace", trace.to_str().unwrap()], further].concat();
        let output = run(&profiles, &options)
            .args(["sh", "-c", "exec env echo replaced"])
            .output()
            .unwrap();
        assert_eq!(success(output).0, "replaced\n");
        let mut reader = Reader::new(File::open(&trace).unwrap()).unwrap();
        while reader.next_event().is_some() {}
        let ending = reader.ending();
        assert!(ending.to_string().starts_with("whole"), "{ending}");
        let main = &reader.tables().threads()[0];
        assert_eq!(main.name, "echo", "{further:?}");
        let mut names = fs::read_dir(room.path()).unwrap();
        let beside = names.find(|name| {
            let name = name.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("events.")
        });
        assert!(beside.is_none(), "{further:?}: {beside:?}");
    }
}

#[test]
fn a_process_that_the_program_starts_has_a_trace_beside_it() {
    let room = room();
    let (profiles, trace) = (room.path().join("out"), room.path().join("events"));
    let options = ["-q", "--children", "--trace", trace.to_str().unwrap()];
    let output = run(&profiles, &options)
        .args(["sh", "-c", "env true; echo $$"])
        .output()
        .unwrap();
    success(output);
    let mut mains = Vec::new();
    for entry in fs::read_dir(room.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "events" || name.starts_with("events.") {
            let mut reader = Reader::new(File::open(&path).unwrap()).unwrap();
            while reader.next_event().is_some() {}
            mains.push((name != "events", reader.tables().threads()[0].name.clone()));
        }
    }
    mains.sort();
    assert_eq!(mains, [(false, "sh".into()), (true, "true".into())]);
}

/// Runs `leaves.c`, which leaves in that way; its trace, read to its end.
fn left(room: &TempDir, program: &Path, way: &str) -> (Output, Vec<u8>) {
    let (profiles, trace) = (room.path().join("out"), room.path().join("events"));
    let options = ["-q", "--trace", trace.to_str().unwrap()];
    let output = run(&profiles, &options).arg(program).arg(way).output();
    (output.unwrap(), fs::read(trace).unwrap())
}

#[test]
fn however_a_program_leaves_its_trace_is_whole() {
    let room = room();
    let program = compile(&room, "leaves.c", &[]);
    for way in [
        "exit",
        "_exit",
        "_Exit",
        "quick_exit",
        "thread",
        "handler",
        "vfork",
        "fork",
    ] {
        let (output, trace) = left(&room, &program, way);
        success(output);
        let mut reader = Reader::new(&*trace).unwrap();
        let mut objects = 0;
        while let Some(event) = reader.next_event() {
            objects += u32::from(matches!(event.what, What::Alloc { size_bytes: 77, .. }));
        }
        let ending = reader.ending();
        assert!(ending.to_string().starts_with("whole"), "{way}: {ending}");
        assert_eq!(objects, 1000, "{way}");
    }
}

/// Threads of everprof's own, which stay, do not keep it alive.
#[test]
fn a_program_that_ends_with_its_last_thread_does_so() {
    let room = room();
    let program = compile(&room, "last.c", &[]);
    let (profiles, trace) = (room.path().join("out"), room.path().join("events"));
    let (path, address) = (trace.to_str().unwrap(), "127.0.0.1:0");
    let options = ["-q", "--trace", path, "--http", address];
    success(run(&profiles, &options).arg(&program).output().unwrap());
    let mut reader = Reader::new(File::open(&trace).unwrap()).unwrap();
    let mut objects = 0;
    while let Some(event) = reader.next_event() {
        objects += u32::from(matches!(event.what, What::Alloc { size_bytes: 77, .. }));
    }
    assert_eq!(objects, 1000);
    let ending = reader.ending();
    assert!(ending.to_string().starts_with("whole"), "{ending}");
}

#[test]
fn trace_of_a_program_that_is_killed_can_be_read() {
    let room = room();
    let program = compile(&room, "leaves.c", &[]);
    let (output, trace) = left(&room, &program, "kill");
    assert_eq!(output.status.signal(), Some(libc::SIGKILL));
    let mut reader = Reader::new(&*trace).unwrap();
    while reader.next_event().is_some() {}
    let tables = reader.tables();
    let words = &tables.program().command_line;
    assert_eq!(words[1..], ["kill"]);
    let ending = reader.ending();
    assert!(ending.to_string().starts_with("cut off"), "{ending}");
}

/// What `everprof trace` says of a trace, and what it complains of.
fn read(trace: &Path, options: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everprof"));
    success(
        command
            .arg("trace")
            .arg(trace)
            .args(options)
            .output()
            .unwrap(),
    )
}

#[test]
fn everprofs_own_addresses_have_names_when_the_library_is_gone() {
    let room = room();
    let program = compile_rust(&room, "threads.rs", &[]);
    let trace = room.path().join("events");
    let options = ["-q", "--trace", trace.to_str().unwrap()];
    let profiles = room.path().join("out");
    success(run(&profiles, &options).arg(program).output().unwrap());
    // The C library allocates for a thread, and stands above our `pthread_create`.
    let (report, complaints) = read(&trace, &["--peak", "--limit", "0"]);
    assert!(!complaints.contains("/proc/"), "{complaints}");
    let names = report.lines().map(str::split_whitespace);
    let is_named = names.flatten().any(|word| word == "pthread_create");
    assert!(is_named, "{report}");
    let (addresses, complaints) = read(&trace, &["--peak", "--limit", "0", "--no-symbolize"]);
    assert!(addresses.contains("[everprof]+0x"), "{addresses}");
    assert_eq!(complaints, "");
}

#[test]
fn what_is_no_file_is_written_to_itself() {
    let room = room();
    let output = run(&room.path().join("out"), &["-q", "--trace", "/dev/full"])
        .arg("true")
        .output()
        .unwrap();
    let (_, told) = success(output);
    assert!(told.contains("No space left on device"), "{told}");
    let stem = "full.";
    let mut devices = fs::read_dir("/dev").unwrap();
    let beside = devices.any(|it| it.unwrap().file_name().to_string_lossy().starts_with(stem));
    assert!(!beside);
}
