//! Forks, execs and children: who is recorded, who is left alone, and what
//! each of them sees of us.
#![allow(clippy::unwrap_used)]

mod launch;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use launch::{compile, functions, profile, room, run, success, sums};

fn ran(program: &Path, profiles: &Path, options: &[&str], how: &str) -> Output {
    let mut all = vec!["--heap", "1", "--quiet"];
    all.extend(options);
    run(profiles, &all).arg(program).arg(how).output().unwrap()
}

/// The parent's books are exactly its own, whatever its children did.
#[track_caller]
fn only_the_parent(profiles: &Path) {
    let heap = profile(profiles, "heap");
    assert_eq!(sums(&heap, "in_parent").inuse_objects, 10);
    assert_eq!(sums(&heap, "in_parent").inuse_space, 100_000);
    assert_eq!(sums(&heap, "in_parent_later").inuse_objects, 10);
    let functions = functions(&heap);
    assert!(
        !functions
            .iter()
            .any(|name| name == "in_child" || name == "in_image")
    );
}

#[test]
fn a_child_without_children_writes_nothing_into_its_parents_books() {
    let room = room();
    let program = compile(&room, "family_tree.c", &[]);
    for how in ["fork", "raw-fork", "vfork", "spawn", "system"] {
        let profiles = room.path().join(how);
        success(ran(&program, &profiles, &[], how));
        only_the_parent(&profiles);
        let names = ["allocs", "block", "heap", "mutex", "threadcreate"];
        let files = names.map(|name| format!("{name}.pb.gz"));
        assert_eq!(entries(&profiles), files, "{how}");
    }
}

#[test]
fn an_exec_in_the_same_process_is_followed() {
    let room = room();
    let program = compile(&room, "family_tree.c", &[]);
    let ways = [
        "execl",
        "execl-long",
        "execle",
        "execlp",
        "execv",
        "execve",
        "execvp",
        "execvpe",
    ];
    for how in ways {
        let profiles = room.path().join(how);
        let output = ran(&program, &profiles, &[], how);
        assert_eq!(output.status.code(), Some(12), "{how}: {output:?}");
        let heap = profile(&profiles, "heap");
        assert_eq!(sums(&heap, "in_image").inuse_objects, 7, "{how}");
        // The old image's memory is gone, and its objects with it.
        assert_eq!(sums(&heap, "in_parent").inuse_objects, 0, "{how}");
    }
}

#[test]
fn an_exec_that_fails_changes_nothing() {
    let room = room();
    let program = compile(&room, "family_tree.c", &[]);
    let profiles = room.path().join("out");
    success(ran(&program, &profiles, &[], "failed-exec"));
    only_the_parent(&profiles);
}

#[test]
fn with_children_each_process_has_its_own_books() {
    let room = room();
    let program = compile(&room, "family_tree.c", &[]);
    for (how, children, site, objects) in [
        ("fork", 1, "in_child", 500),
        ("spawn", 20, "in_image", 7),
        ("vfork", 20, "in_image", 7),
    ] {
        let profiles = room.path().join(how);
        success(ran(&program, &profiles, &["--children"], how));
        only_the_parent(&profiles);
        let directories: Vec<PathBuf> = entries(&profiles)
            .iter()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|name| profiles.join(name))
            .collect();
        assert_eq!(directories.len(), children, "{how}");
        for directory in directories {
            let heap = profile(&directory, "heap");
            assert_eq!(sums(&heap, site).inuse_objects, objects, "{how}");
            assert_eq!(sums(&heap, "in_parent").inuse_objects, 0, "{how}");
            assert!(directory.join("allocs.pb.gz").is_file());
        }
    }
}

#[test]
fn the_program_sees_the_environment_that_its_user_gave() {
    let room = room();
    let profiles = room.path().join("out");
    let variables = |command: &mut Command| {
        // `_` is the calling shell's word for what it runs.
        command
            .env("LD_LIBRARY_PATH", "/a:/b")
            .env("EMPTY", "")
            .env_remove("_");
        let (out, _) = success(command.output().unwrap());
        let lines = out.lines().map(|line| line.split_once('=').unwrap());
        lines
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let mut plain = Command::new("env");
    plain.env_remove("LD_PRELOAD").env_remove("EVERPROF");
    let expected = variables(&mut plain);
    let seen = variables(run(&profiles, &["--quiet"]).arg("env"));
    assert_eq!(seen, expected);
    // And so does what it starts, by exec in the same process or as a child.
    let mut through_exec = run(&profiles, &["--quiet"]);
    let seen = variables(through_exec.args(["sh", "-c", "exec env -u SHLVL -u PWD -u OLDPWD"]));
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .filter(|(name, _)| !["SHLVL", "PWD", "OLDPWD", "_"].contains(&name.as_str()))
        .collect();
    let seen: BTreeMap<_, _> = seen.into_iter().filter(|(name, _)| name != "_").collect();
    assert_eq!(seen, expected);
}

#[test]
fn the_users_own_preload_stays() {
    let room = room();
    let profiles = room.path().join("out");
    let own = room.path().join("own.so");
    let source = launch::source("preloaded.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&own)
        .arg(source)
        .status();
    assert!(made.unwrap().success());
    let mut command = run(&profiles, &["--quiet"]);
    command
        .env("LD_PRELOAD", &own)
        .args(["sh", "-c", "echo $LD_PRELOAD"]);
    let (out, _) = success(command.output().unwrap());
    assert_eq!(out.trim(), own.to_str().unwrap());
}

#[test]
fn standard_streams_pass_untouched() {
    let room = room();
    let profiles = room.path().join("out");
    let script = "cat; echo error >&2; ls /proc/self/fd";
    let words = |command: &mut Command| {
        command.args(["-c", script]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"in\n").unwrap();
        success(child.wait_with_output().unwrap())
    };
    let plain = words(&mut Command::new("sh"));
    assert!(plain.0.starts_with("in\n0\n") && plain.1 == "error\n");
    // The same bytes, and no descriptor of ours in between.
    assert_eq!(words(run(&profiles, &["--quiet"]).arg("sh")), plain);
}

/// Names in a directory, sorted.
fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// One directory a test binary, no line of code, and nothing of the compiler's.
#[test]
fn cargo_test_leaves_a_directory_for_each_test_binary() {
    let room = room();
    let package = room.path().join("package");
    let write = |path: &str, text: &str| {
        let path = package.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "Cargo.toml",
        "[package]\nname = 'tested'\nedition = '2021'\n[workspace]\n[lib]\ndoctest = false\n",
    );
    let test = "#[inline(never)] pub fn ITS_SITE() -> Vec<Vec<u8>> { \
        (1..500).map(|size| vec![1; size]).collect() }\n\
        #[test] fn works() { assert_eq!(ITS_SITE().len(), 499); }\n";
    write("src/lib.rs", &test.replace("ITS_SITE", "in_library"));
    write("tests/outer.rs", &test.replace("ITS_SITE", "in_outer"));
    let profiles = room.path().join("out");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = run(&profiles, &["--heap=1", "--quiet"]);
    command.arg(cargo).args(["test", "--offline", "--quiet"]);
    command.current_dir(&package);
    command.env("CARGO_TARGET_DIR", room.path().join("target"));
    success(command.output().unwrap());
    let directories: Vec<String> = entries(&profiles)
        .into_iter()
        .filter(|name| profiles.join(name).is_dir())
        .collect();
    assert_eq!(directories.len(), 2, "{directories:?}");
    for (binary, site, other) in [
        ("tested-", "in_library", "in_outer"),
        ("outer-", "in_outer", "in_library"),
    ] {
        let mut named = directories.iter().filter(|name| name.starts_with(binary));
        let directory = profiles.join(named.next().unwrap());
        let functions = functions(&profile(&directory, "heap"));
        let has = |site: &str| functions.iter().any(|name| name.ends_with(site));
        assert!(has(site) && !has(other), "{binary}: {functions:?}");
    }
}
