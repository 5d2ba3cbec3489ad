//! `EVERPROF=dump=` under `everprof run`: a program that knows nothing of it writes its
//! profiles when a signal comes, and goes on.
#![allow(clippy::unwrap_used)]

mod launch;

use launch::{compile, room, run, success};

#[test]
fn a_signal_writes_every_profile_of_a_c_program() {
    let room = room();
    let program = compile(&room, "dumps.c", &["-pthread"]);
    let dumps = room.path().join("dumps");
    let mut command = run(&room.path().join("out"), &["--quiet"]);
    command
        .arg(program)
        .arg(libc::SIGUSR2.to_string())
        .arg(&dumps);
    command.env("EVERPROF", format!("dump=SIGUSR2:{}", dumps.display()));
    let (out, err) = success(command.output().unwrap());
    assert_eq!(out, "done\n");
    assert!(err.contains("profiles are in"), "{err}");
    let dump = std::fs::read_dir(&dumps).unwrap().next().unwrap().unwrap();
    let mut names: Vec<_> = std::fs::read_dir(dump.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in [
        "block.pb.gz",
        "heap.pb.gz",
        "threadcreate.pb.gz",
        "threads.txt",
    ] {
        assert!(names.iter().any(|known| known == name), "{name} {names:?}");
    }
    let threads = std::fs::read_to_string(dump.path().join("threads.txt")).unwrap();
    assert!(threads.contains("waits_for_lock"), "{threads}");
    let ours = threads.lines().any(|line| line.starts_with("everprof"));
    assert!(!ours, "{threads}");
}

#[test]
fn a_directory_that_cannot_be_passed_on_is_refused() {
    let room = room();
    let mut command = run(&room.path().join("out"), &[]);
    command.arg("true").env("EVERPROF", "dump=USR2:/tmp/a;b");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("expected a directory without `;`"), "{err}");
}
