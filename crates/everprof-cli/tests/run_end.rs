//! However a program ends, its profiles are there and its end is ours.
#![allow(clippy::unwrap_used)]

mod launch;

use std::ffi::c_int;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use launch::{Sums, compile, profile, room, run, sums};

#[track_caller]
fn three_kept(profiles: &Path) {
    let million = 1_000_000;
    let expected = Sums {
        alloc_objects: 3,
        alloc_space: 3 * million,
        inuse_objects: 3,
        inuse_space: 3 * million,
    };
    assert_eq!(sums(&profile(profiles, "heap"), "kept"), expected);
    assert_eq!(sums(&profile(profiles, "allocs"), "kept"), expected);
}

fn ended(program: &Path, profiles: &Path, how: &str) -> ExitStatus {
    let mut command = run(profiles, &["--heap", "1", "--quiet"]);
    // A core of the test program is of no use to anybody.
    let status = command
        .arg(program)
        .arg(how)
        .current_dir(profiles.parent().unwrap())
        .status();
    status.unwrap()
}

#[test]
fn every_exit_code_passes_and_leaves_its_profiles() {
    let room = room();
    let program = compile(&room, "ends.c", &[]);
    for (how, code) in [
        ("return", 0),
        ("exit", 4),
        ("_exit", 6),
        ("exit_group", 7),
        ("exit-in-thread", 5),
    ] {
        let profiles = room.path().join(how);
        let status = ended(&program, &profiles, how);
        assert_eq!(status.code(), Some(code), "{how}");
        three_kept(&profiles);
    }
}

#[test]
fn a_fatal_signal_is_died_of_again_and_leaves_its_profiles() {
    let room = room();
    let program = compile(&room, "ends.c", &[]);
    for (how, signal) in [
        ("abort", libc::SIGABRT),
        ("abort-in-thread", libc::SIGABRT),
        ("segv", libc::SIGSEGV),
        ("kill", libc::SIGKILL),
    ] {
        let profiles = room.path().join(how);
        let status = ended(&program, &profiles, how);
        assert_eq!(status.signal(), Some(signal), "{how}");
        // The program's core may be wanted; ours never.
        assert!(!status.core_dumped(), "{how}");
        three_kept(&profiles);
    }
}

#[test]
fn a_signal_without_a_default_of_ours_is_told_as_shells_tell_it() {
    let room = room();
    let program = compile(&room, "ends.c", &[]);
    let profiles = room.path().join("realtime");
    let status = ended(&program, &profiles, "realtime");
    let number = libc::SIGRTMIN() + 1;
    assert!(
        status.signal() == Some(number) || status.code() == Some(128 + number),
        "{status}"
    );
    three_kept(&profiles);
}

/// everprof in a process group of its own, its program waiting for a signal.
fn waiting(program: &Path, profiles: &Path, how: &str) -> Child {
    let mut command = run(profiles, &["--heap", "1", "--quiet"]);
    command
        .arg(program)
        .arg(how)
        .stdout(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// To a process, or to a group where the target is negative. Not by the command, which a
/// machine without Debian's procps has in its shell only.
fn kill(signal: c_int, target: i32) {
    // SAFETY: no memory is involved; the target is ours and was not waited for yet.
    assert_eq!(unsafe { libc::kill(target, signal) }, 0);
}

#[test]
fn a_signal_to_the_process_group_ends_both_and_leaves_the_profiles() {
    let room = room();
    let program = compile(&room, "ends.c", &[]);
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let profiles = room.path().join(signal.to_string());
        let mut child = waiting(&program, &profiles, "wait");
        kill(signal, -child.id().cast_signed());
        assert_eq!(child.wait().unwrap().signal(), Some(signal));
        three_kept(&profiles);
    }
}

#[test]
fn a_signal_to_everprof_alone_reaches_the_program_which_may_handle_it() {
    let room = room();
    let program = compile(&room, "ends.c", &[]);
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let profiles = room.path().join(signal.to_string());
        let mut child = waiting(&program, &profiles, "catch");
        kill(signal, child.id().cast_signed());
        let status = child.wait().unwrap();
        if signal == libc::SIGHUP {
            assert_eq!(status.signal(), Some(signal));
        } else {
            assert_eq!(status.code(), Some(33), "{signal}");
        }
        three_kept(&profiles);
    }
}

#[test]
fn what_the_caller_had_ignored_the_program_ignores_too() {
    let room = room();
    let profiles = room.path().join("out");
    // The shell's `trap ''` is what `nohup` does; the inner shell would die of the
    // signal, had everprof handled it between.
    let mut command = run(&profiles, &["--quiet"]);
    command.args(["sh", "-c", "kill -HUP $$; echo alive"]);
    let output = Command::new("sh")
        .arg("-c")
        .arg("trap '' HUP; exec \"$@\"")
        .arg("sh")
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alive\n");
}
