//! `EVERPROF` in a program whose allocator is another one: what only sets counts, and what
//! opens a door waits until the program asks for one.
#![allow(clippy::unwrap_used)]

use std::process::Command;

/// The variable that makes this binary, started by itself, be the program.
const PROGRAM: &str = "EVERPROF_TEST_PROGRAM";

/// Not a test, but the program.
#[test]
fn program() {
    if std::env::var_os(PROGRAM).is_none() {
        return;
    }
    println!(
        "block {} mutex {} one in {} taskblock {} tasks {}",
        everprof::block::period(),
        everprof::mutex::period(),
        everprof::mutex::fraction(),
        everprof::taskblock::period(),
        everprof::tasks::is_watching(),
    );
    // Ours would have `everprof` in their names.
    let ours = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter(|task| {
            let name = task.as_ref().unwrap().path().join("comm");
            std::fs::read_to_string(name).is_ok_and(|name| name.starts_with("everprof"))
        });
    println!("{} threads of ours", ours.count());
}

/// What the program says, on stdout and on stderr.
fn run(told: &str) -> (String, String) {
    let mut command = match std::env::var("EVERPROF_TEST_RUNNER") {
        Ok(runner) => {
            let mut words = runner.split(' ').map(str::to_owned);
            let mut command = Command::new(words.next().unwrap());
            command.args(words).arg(std::env::current_exe().unwrap());
            command
        }
        Err(_) => Command::new(std::env::current_exe().unwrap()),
    };
    let output = command
        .args(["--exact", "program", "--nocapture"])
        .env(PROGRAM, "1")
        .env("EVERPROF", told)
        .output()
        .unwrap();
    let (out, told) = (output.stdout, output.stderr);
    assert!(output.status.success());
    (
        String::from_utf8(out).unwrap(),
        String::from_utf8(told).unwrap(),
    )
}

#[test]
fn settings_of_waits_and_tasks_count() {
    let (said, complaints) = run("block=10us,mutex=off,mutex_fraction=7,taskblock=5,tasks=off");
    let expected = "block 10000 mutex 0 one in 7 taskblock 5 tasks false";
    assert!(said.contains(expected), "{said}");
    assert_eq!(complaints, "");
}

#[test]
fn without_the_variable_all_is_as_the_code_says() {
    let (said, complaints) = run("");
    let expected = "block 1000000 mutex 1000000 one in 0 taskblock 1000000 tasks true";
    assert!(said.contains(expected), "{said}");
    assert_eq!(complaints, "");
}

#[test]
fn no_door_opens_and_no_thread_starts() {
    let (said, complaints) = run("http=127.0.0.1:0,dump=SIGUSR2");
    assert!(said.contains("0 threads of ours"), "{said}");
    assert_eq!(complaints, "");
}

#[test]
fn what_cannot_be_read_is_told() {
    let (_, complaints) = run("tasks=2");
    assert!(complaints.starts_with("EVERPROF: `tasks=2`: expected on or off"));
}

#[test]
fn a_trace_is_refused_in_one_line() {
    let directory = std::env::temp_dir();
    let file = directory.join(format!("everprof-no-trace.{}", std::process::id()));
    let (_, complaints) = run(&format!("trace={}", file.display()));
    assert_eq!(complaints.lines().count(), 1, "{complaints}");
    assert!(
        complaints.contains("`trace`: this program's allocator is no everprof::Alloc"),
        "{complaints}"
    );
    assert!(!file.exists());
}
