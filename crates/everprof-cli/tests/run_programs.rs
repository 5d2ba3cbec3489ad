//! Real programs, and Rust programs that know nothing of everprof: their
//! figures, their names, and that they do what they do without it.
#![allow(clippy::unwrap_used)]

mod launch;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use everprof_profile::pprof::{Limits, decode};
use launch::{
    Sums, compile, compile_rust, functions, names, profile, room, run, source, success, sums, words,
};

#[test]
fn ten_threads_of_a_rust_program_are_counted_to_the_byte() {
    let room = room();
    let program = compile_rust(&room, "threads.rs", &[]);
    let profiles = room.path().join("out");
    let (out, _) = success(
        run(&profiles, &["--heap", "1", "-q"])
            .arg(program)
            .output()
            .unwrap(),
    );
    assert_eq!(out, "10000\n");
    let heap = profile(&profiles, "heap");
    let kept = |objects, bytes| Sums {
        alloc_objects: objects,
        alloc_space: bytes,
        inuse_objects: objects,
        inuse_space: bytes,
    };
    assert_eq!(sums(&heap, "threads::kept"), kept(10_000, 10_000_000));
    let elsewhere = Sums {
        alloc_objects: 10_000,
        alloc_space: 20_000_000,
        ..Sums::default()
    };
    assert_eq!(sums(&heap, "threads::freed_elsewhere"), elsewhere);
    assert_eq!(sums(&heap, "threads::in_destructor"), kept(10, 30_000));
    let grown = Sums {
        alloc_objects: 20,
        alloc_space: 11_000,
        inuse_objects: 10,
        inuse_space: 10_000,
    };
    assert_eq!(sums(&heap, "threads::grown"), grown);
}

/// Between two of its segments there may be a page that is nobody's, which glibc tells by
/// another answer to the question where the program is. One program in three hundred is
/// linked so by chance.
#[test]
fn stacks_are_whole_where_a_programs_segments_stand_apart() {
    for place in [&[][..], &["-Crelocation-model=static"]] {
        let room = room();
        let apart = ["-Clink-arg=-Wl,-z,max-page-size=0x200000"];
        let program = compile_rust(&room, "threads.rs", &[&apart, place].concat());
        let profiles = room.path().join("out");
        let mut command = run(&profiles, &["--heap", "1", "-q"]);
        success(command.arg(program).output().unwrap());
        let heap = profile(&profiles, "heap");
        let mut through = 0;
        for sample in heap.samples() {
            let stack = names(&heap, sample.stack());
            if let Some(at) = stack.iter().position(|name| name == "threads::kept") {
                let callers = &stack[at..];
                through += 1;
                let is_whole = callers
                    .iter()
                    .any(|name| name.contains("__rust_begin_short_backtrace"));
                assert!(is_whole, "{place:?}: {stack:?}");
            }
        }
        assert!(through > 0, "{place:?}");
    }
}

/// At the default period a sample of 10,000 × 1,000 B + 10,000 × 2,000 B has
/// p ≈ s/P each: the sum of weights has a standard deviation of
/// √(Σ s²(1−p)/p) ≈ √(P · Σ s) = √(524,288 · 3·10⁷) ≈ 4.0·10⁶ bytes. Five of
/// them: a false alarm in about 1.7 million runs.
#[test]
fn the_default_period_is_right_within_five_sigmas() {
    let room = room();
    let program = compile_rust(&room, "threads.rs", &[]);
    let profiles = room.path().join("out");
    success(run(&profiles, &["-q"]).arg(program).output().unwrap());
    let heap = profile(&profiles, "heap");
    let seen = sums(&heap, "threads::kept").alloc_space
        + sums(&heap, "threads::freed_elsewhere").alloc_space;
    assert!((seen - 30_000_000).abs() < 5 * 4_000_000, "{seen}");
    assert_eq!(heap.period, 512 << 10);
}

#[test]
fn ordinary_commands_say_and_return_what_they_do_without_us() {
    let room = room();
    let script = room.path().join("script");
    std::fs::write(&script, "#!/bin/sh\necho \"$0 $1\"; exit 3\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    let python = "import json, threading; \
                  ts = [threading.Thread(target=lambda: json.dumps(list(range(9999)))) for _ in range(8)]; \
                  [t.start() for t in ts]; [t.join() for t in ts]; print('python')";
    let here = env!("CARGO_MANIFEST_DIR");
    for line in [
        &["ls", "-l", "/usr"][..],
        &[
            "sh",
            "-c",
            "for i in 1 2 3; do echo $i; done | sort -r; exit 5",
        ],
        &["git", "-C", here, "--version"],
        &["python3", "-c", python],
        &["cargo", "--version"],
        &[
            "cc",
            "-O2",
            "-S",
            "-o",
            "-",
            source("ends.c").to_str().unwrap(),
        ],
        &[script, "argument"],
        &["true"],
        &["false"],
    ] {
        let plain = Command::new(line[0])
            .args(&line[1..])
            .env_remove("LD_PRELOAD")
            .output()
            .unwrap();
        for options in [
            &["-q"][..],
            &["-q", "--heap", "1"],
            &["-q", "--children", "--heap", "4KiB"],
        ] {
            let profiles = room.path().join("out");
            let output = run(&profiles, options).args(line).output().unwrap();
            let (out, err) = words(&output);
            assert_eq!(
                output.status.code(),
                plain.status.code(),
                "{line:?} {options:?}: {err}"
            );
            assert_eq!(words(&plain), (out, err), "{line:?} {options:?}");
            profile(&profiles, "heap");
            profile(&profiles, "allocs");
            std::fs::remove_dir_all(profiles).unwrap();
        }
    }
}

#[test]
fn a_library_that_was_unloaded_is_still_named() {
    let room = room();
    let library = room.path().join("plugin.so");
    let made = Command::new("cc")
        .args(["-O0", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source("plugin.c"))
        .status();
    assert!(made.unwrap().success());
    let program = compile(&room, "loads.c", &[]);
    let profiles = room.path().join("out");
    success(
        run(&profiles, &["--heap", "1", "-q"])
            .arg(program)
            .arg(&library)
            .output()
            .unwrap(),
    );
    let seen = sums(&profile(&profiles, "heap"), "in_plugin");
    assert_eq!((seen.inuse_objects, seen.inuse_space), (25, 100_000));
}

#[test]
fn the_tables_at_the_end_name_the_largest_and_where_the_files_are() {
    let room = room();
    let program = compile(&room, "ends.c", &[]);
    let profiles = room.path().join("out");
    let mut command = run(&profiles, &["--heap", "1"]);
    let output = command.arg(program).arg("_exit").output().unwrap();
    let (out, err) = words(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(6), ""));
    let (heap, allocs) = (profiles.join("heap.pb.gz"), profiles.join("allocs.pb.gz"));
    for word in ["inuse_space", "alloc_space", "2.86 MiB", "kept"] {
        assert!(err.contains(word), "`{word}` is not in: {err}");
    }
    assert!(err.contains(heap.to_str().unwrap()) && err.contains(allocs.to_str().unwrap()));
}

#[test]
fn without_a_directory_the_profiles_stand_in_one_named_after_the_program() {
    let room = room();
    let mut command = Command::new(env!("CARGO_BIN_EXE_everprof"));
    command
        .args(["run", "-q", "--", "true"])
        .current_dir(room.path());
    success(command.output().unwrap());
    let entries: Vec<_> = std::fs::read_dir(room.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(entries.len(), 1);
    let name = entries[0].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("everprof.true."), "{name}");
    profile(&entries[0], "heap");
}

#[test]
fn the_endpoint_serves_while_the_program_runs() {
    let room = room();
    let program = compile(&room, "serve_me.c", &[]);
    let profiles = room.path().join("out");
    let mut command = run(&profiles, &["--heap", "1", "-q", "--http", "127.0.0.1:0"]);
    command.arg(program);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let mut said = BufReader::new(child.stderr.as_mut().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address = line
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();

    let live = decode(&get(address, "/debug/pprof/heap"), &Limits::default()).unwrap();
    assert_eq!(sums(&live, "kept").inuse_space, 3_000_000);
    // The server's own memory is not the program's.
    assert!(
        !functions(&live)
            .iter()
            .any(|name| name.contains("everprof"))
    );
    let index = String::from_utf8(get(address, "/debug/pprof/")).unwrap();
    assert!(index.contains("allocs"));

    drop(child.stdin.take());
    success(child.wait_with_output().unwrap());
    assert_eq!(
        sums(&profile(&profiles, "heap"), "kept_later").inuse_space,
        500_000
    );
}

#[test]
fn a_deadlock_of_c_mutexes_is_told_with_their_holders_though_a_thread_runs() {
    let room = room();
    let program = compile(&room, "deadlock.c", &[]);
    let profiles = room.path().join("out");
    let mut command = run(&profiles, &["-q", "--http", "127.0.0.1:0"]);
    command.arg(program);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.as_mut().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let rest = line.split("http://").nth(1).unwrap();
    let address = rest.split('/').next().unwrap();
    let text = (0..300).find_map(|_| {
        let text = get(address, "/debug/pprof/goroutine?debug=2");
        let text = String::from_utf8(text).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        text.contains("deadlock: 2 threads wait for one another")
            .then_some(text)
    });
    drop(child.stdin.take());
    success(child.wait_with_output().unwrap());
    let text = text.expect("it is found");
    assert_eq!(text.matches(", held by thread ").count(), 4, "{text}");
}

/// The body of an answer.
fn get(address: &str, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let head = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    answer.split_off(head + 4)
}

#[test]
fn hostile_programs_end_under_us_as_they_end_alone() {
    let room = room();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unmodified");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "-p",
        "testprograms",
        "--no-default-features",
        "--bins",
    ]);
    cargo
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&built);
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    success(cargo.output().unwrap());
    let sources = std::fs::read_dir(root.join("testprograms/src/bin")).unwrap();
    let mut seen = 0;
    for source in sources {
        let name = source.unwrap().path().file_stem().unwrap().to_owned();
        let program = built.join("debug").join(&name);
        // Programs that ask everprof themselves exist in no build without it.
        if !program.exists() {
            continue;
        }
        let plain = Command::new(&program).output().unwrap();
        for options in [&["-q"][..], &["-q", "--heap", "4KiB", "--children"]] {
            let profiles = room.path().join("out");
            let output = run(&profiles, options).arg(&program).output().unwrap();
            let context = format!("{name:?} {options:?}: {:?}", words(&output));
            assert_eq!(output.status.code(), plain.status.code(), "{context}");
            assert_eq!(output.stdout, plain.stdout, "{context}");
            assert!(profiles.join("heap.pb.gz").is_file(), "{context}");
            std::fs::remove_dir_all(profiles).unwrap();
        }
        seen += 1;
    }
    assert!(seen >= 15, "{seen} programs");
}
