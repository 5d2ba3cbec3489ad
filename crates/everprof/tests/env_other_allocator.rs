//! `EVERPROF` in a program whose allocator is another one: all counts but what is of the heap,
//! and that is told.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

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
    // A thread gives itself its name: looked at until there are two, or often enough.
    let ours = (0..1000).map(|_| threads_of_ours()).find(|ours| *ours == 2);
    println!("{} threads of ours", ours.unwrap_or_else(threads_of_ours));
    // Until the other end is closed.
    let _ = std::io::stdin().read(&mut [0]);
}

/// Ours have `everprof` in their names.
fn threads_of_ours() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
    names
        .filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("everprof")))
        .count()
}

fn command(told: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = match std::env::var("EVERPROF_TEST_RUNNER") {
        Ok(runner) => {
            let mut words = runner.split(' ').map(str::to_owned);
            let mut command = Command::new(words.next().unwrap());
            command.args(words).arg(own);
            command
        }
        Err(_) => Command::new(own),
    };
    command
        .args(["--exact", "program", "--nocapture"])
        .env(PROGRAM, "1")
        .env("EVERPROF", told);
    command
}

/// What the program says, on stdout and on stderr.
fn run(told: &str) -> (String, String) {
    let output = command(told).stdin(Stdio::null()).output().unwrap();
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
fn doors_open() {
    let (said, complaints) = run("http=127.0.0.1:0,dump=SIGUSR2");
    assert!(said.contains("2 threads of ours"), "{said}");
    assert_eq!(complaints, "");
    assert!(run("").0.contains("0 threads of ours"));
}

/// Sends a signal by its name: to do so oneself would be unsafe code.
fn send(signal: &str, id: u32) {
    let kill = format!("kill -{signal} {id}");
    let sent = Command::new("sh").args(["-c", &kill]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn dump_is_written_at_its_signal() {
    let room = std::env::temp_dir().join(format!("everprof-other-{}", std::process::id()));
    let mut child = command(&format!("dump=SIGUSR2:{}", room.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().ends_with("threads of ours")));
    send("USR2", child.id());
    let dump = room.join(format!("{}.1", child.id()));
    // It appears when it is whole.
    while !dump.exists() {
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::yield_now();
    }
    assert!(dump.join("threads.txt").is_file());
    drop(child.stdin.take());
    said.for_each(drop);
    assert!(child.wait().unwrap().success());
    std::fs::remove_dir_all(room).unwrap();
}

#[test]
fn what_cannot_be_read_is_told() {
    let (_, complaints) = run("tasks=2");
    assert!(complaints.starts_with("EVERPROF: `tasks=2`: expected on or off"));
}

#[test]
fn period_of_the_heap_is_refused_in_one_line() {
    let (said, complaints) = run("heap=64KiB,block=10us");
    assert!(said.contains("block 10000"), "{said}");
    assert_eq!(complaints.lines().count(), 1, "{complaints}");
    assert!(
        complaints.contains("`heap`: this program's allocator is no everprof::Alloc"),
        "{complaints}"
    );
    assert_eq!(run("heap=off").1, "");
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
