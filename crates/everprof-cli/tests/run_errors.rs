//! Wrong input and unfit programs: each gets a message that names it and says
//! what to do, and an exit code that no program's success can be taken for.
#![allow(clippy::unwrap_used)]

mod launch;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use launch::{compile, profile, room, run, success, words};

/// Runs and expects a refusal with this code whose one line has each of these words.
#[track_caller]
fn refused(command: &mut Command, code: i32, expected: &[&str]) {
    let output = command.output().unwrap();
    let (out, err) = words(&output);
    assert_eq!(output.status.code(), Some(code), "{err}");
    assert_eq!(out, "");
    assert!(err.starts_with("everprof: "), "{err}");
    for word in expected {
        assert!(err.contains(word), "`{word}` is not in: {err}");
    }
}

fn executable(path: &Path, contents: &[u8]) -> PathBuf {
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_owned()
}

#[test]
fn a_program_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    let room = room();
    let out = room.path().join("out");
    refused(
        run(&out, &[]).arg("no-such-program"),
        127,
        &["`no-such-program`", "no such"],
    );
    refused(run(&out, &[]).arg("./no/such"), 127, &["`./no/such`"]);
    let data = room.path().join("data");
    fs::write(&data, "x").unwrap();
    refused(
        run(&out, &[]).arg(&data),
        126,
        &["data", "permission denied"],
    );
    refused(run(&out, &[]).arg(room.path()), 126, &["directory"]);
    let text = executable(&room.path().join("text"), b"just words\n");
    refused(
        run(&out, &[]).arg(text),
        126,
        &["neither an ELF binary nor a `#!` script"],
    );
    let orphan = executable(&room.path().join("orphan"), b"#!/no/such/interpreter\n");
    refused(run(&out, &[]).arg(orphan), 127, &["/no/such/interpreter"]);
    assert!(!out.exists(), "nothing was run, so nothing is left");
}

#[test]
fn a_static_program_is_told_to_link_everprof() {
    let room = room();
    let program = compile(&room, "static.c", &["-static"]);
    let out = room.path().join("out");
    refused(
        run(&out, &[]).arg(&program),
        125,
        &["statically linked", "everprof::Alloc"],
    );
    let script = format!("#!{}\n", program.display());
    let script = executable(&room.path().join("script"), script.as_bytes());
    refused(run(&out, &[]).arg(script), 125, &["statically linked"]);
}

#[test]
fn programs_of_another_libc_or_machine_are_named_as_such() {
    let room = room();
    let out = room.path().join("out");
    let musl = compile(
        &room,
        "static.c",
        &["-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"],
    );
    refused(run(&out, &[]).arg(&musl), 125, &["ld-musl", "glibc"]);
    let mut bytes = fs::read(&musl).unwrap();
    // e_machine: RISC-V.
    bytes[18..20].copy_from_slice(&243_u16.to_le_bytes());
    let foreign = executable(&room.path().join("foreign"), &bytes);
    refused(run(&out, &[]).arg(foreign), 125, &["riscv64"]);
    bytes.truncate(100);
    let torn = executable(&room.path().join("torn"), &bytes);
    refused(run(&out, &[]).arg(torn), 126, &["torn"]);
}

#[test]
fn a_program_that_gains_rights_is_refused() {
    let room = room();
    let out = room.path().join("out");
    let copy = executable(&room.path().join("copy"), &fs::read("/bin/true").unwrap());
    let program = if chown(&copy, Some(65534), Some(65534)).is_ok() {
        fs::set_permissions(&copy, PermissionsExt::from_mode(0o4755)).unwrap();
        copy
    } else {
        // Not root: any set-uid program of root's will do.
        let known = [
            "/usr/bin/su",
            "/usr/bin/passwd",
            "/usr/bin/mount",
            "/usr/bin/sudo",
        ];
        known
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .unwrap()
    };
    refused(run(&out, &[]).arg(program), 125, &["set-uid"]);
}

#[test]
fn a_directory_that_cannot_be_written_is_found_out_before_the_program_runs() {
    let room = room();
    let file = room.path().join("file");
    fs::write(&file, "").unwrap();
    let ran = room.path().join("ran");
    for out in [
        file.join("out"),
        file.clone(),
        PathBuf::from("/proc/everprof"),
    ] {
        refused(
            run(&out, &[]).arg("touch").arg(&ran),
            125,
            &[out.to_str().unwrap()],
        );
    }
    assert!(!ran.exists());
}

#[test]
fn profiles_that_cannot_be_written_at_the_end_are_kept_elsewhere() {
    let room = room();
    let out = room.path().join("out");
    let spare = room.path().join("spare");
    fs::create_dir(&spare).unwrap();
    let mut command = run(&out, &["--quiet"]);
    command.env("TMPDIR", &spare);
    command
        .args(["sh", "-c", "rmdir \"$0\" && touch \"$0\""])
        .arg(&out);
    refused(
        &mut command,
        125,
        &[out.to_str().unwrap(), spare.to_str().unwrap()],
    );
    let kept = fs::read_dir(&spare)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(profile(&kept, "heap").default_sample_type(), "inuse_space");
    // A program that failed by itself keeps its own code.
    fs::remove_file(&out).unwrap();
    let mut command = run(&out, &["--quiet"]);
    command.env("TMPDIR", &spare);
    command
        .args(["sh", "-c", "rmdir \"$0\" && touch \"$0\"; exit 9"])
        .arg(&out);
    refused(&mut command, 9, &[spare.to_str().unwrap()]);
}

#[test]
fn a_busy_port_is_told_and_the_program_goes_on() {
    let room = room();
    let out = room.path().join("out");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = run(&out, &["--http", &address]);
    let (words, err) = success(command.args(["echo", "done"]).output().unwrap());
    assert_eq!(words, "done\n");
    assert!(err.contains(&address) && err.contains("in use"), "{err}");
    profile(&out, "heap");
}

#[test]
fn an_allocator_of_the_programs_own_is_pointed_out() {
    let room = room();
    for (name, symbol) in [
        ("own_malloc.c", "`malloc`"),
        ("renamed_malloc.c", "`_rjem_malloc`"),
    ] {
        let program = compile(&room, name, &["-rdynamic"]);
        let out = room.path().join(symbol.trim_matches('`'));
        let (_, err) = success(run(&out, &["--quiet"]).arg(program).output().unwrap());
        assert!(
            err.contains(symbol) && err.contains("everprof::Alloc"),
            "{err}"
        );
    }
}

#[test]
fn values_that_cannot_be_read_are_named_with_what_was_expected() {
    let room = room();
    let out = room.path().join("out");
    for (option, value, expected) in [
        ("--heap", "12parsecs", "expected a size"),
        ("--heap", "-1", "expected a size"),
        ("--depth", "0", "1..=1024"),
        ("--depth", "2000", "1..=1024"),
        ("--memory-limit", "10", "1MiB"),
    ] {
        let output = run(&out, &[&format!("{option}={value}")])
            .arg("true")
            .output()
            .unwrap();
        let (_, err) = words(&output);
        assert_eq!(output.status.code(), Some(125), "{err}");
        for word in [option, value, expected] {
            assert!(err.contains(word), "`{word}` is not in: {err}");
        }
    }
    let output = run(&out, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "no program is no run");
}

#[test]
fn the_variable_counts_where_no_option_is_given() {
    let room = room();
    let program = compile(&room, "ends.c", &[]);
    let period = |variable: &str, options: &[&str]| {
        let out = room.path().join("out");
        let options = [&["-q"], options].concat();
        let output = run(&out, &options)
            .arg(&program)
            .env("EVERPROF", variable)
            .output();
        let (_, err) = success(output.unwrap());
        (profile(&out, "heap").period, err)
    };
    assert_eq!(period("heap=4KiB", &[]), (4096, String::new()));
    assert_eq!(
        period("heap=4KiB", &["--heap", "8KiB"]),
        (8192, String::new())
    );
    let (period, err) = period("heap=much", &[]);
    assert_eq!(period, 512 << 10);
    assert!(
        err.contains("heap=much") && err.contains("expected"),
        "{err}"
    );
}

#[test]
fn a_misspelt_option_is_no_program() {
    let room = room();
    let out = room.path().join("out");
    for bogus in ["--haep=1", "--bogus", "-x"] {
        let output = run(&out, &[bogus]).arg("true").output().unwrap();
        let (_, err) = words(&output);
        assert_eq!(output.status.code(), Some(125), "{err}");
        let named = bogus.split('=').next().unwrap();
        assert!(err.contains(&format!("'{named}'")), "{err}");
    }
    // Behind `--` it is one.
    refused(
        run(&out, &[]).arg("--bogus"),
        127,
        &["`--bogus`: no such program"],
    );
}

#[test]
fn options_behind_the_program_are_the_programs() {
    let room = room();
    let mut command = Command::new(env!("CARGO_BIN_EXE_everprof"));
    command.env_remove("LD_PRELOAD").env_remove("EVERPROF");
    command
        .args(["run", "-q", "-o"])
        .arg(room.path().join("out"));
    let output = command.args(["echo", "--heap", "-q", "--", "x"]).output();
    assert_eq!(success(output.unwrap()).0, "--heap -q -- x\n");
}
