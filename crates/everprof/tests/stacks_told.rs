//! Stacks that are written because something went wrong: a panic, a watchdog that nobody
//! feeds. Each in a process of its own, whose stderr is read.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use everprof::stacks;

/// Names the part that a process of its own is to play.
const PART: &str = "EVERPROF_TEST_PART";

/// Whether this process is the one that is to play `child`; elsewhere that test has
/// nothing to do.
fn plays(child: &str) -> bool {
    std::env::var_os(PART).is_some_and(|part| part == child)
}

/// Runs one of the parts below in a process of its own; what it wrote to stderr.
fn stderr_of(child: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", child])
        .env(PART, child)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The same of a part that goes on until all of `awaited` is in it.
fn stderr_until(child: &str, awaited: &[&str]) -> String {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", child])
        .env(PART, child)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    for line in BufReader::new(process.stderr.take().unwrap()).lines() {
        text += &line.unwrap();
        text.push('\n');
        if awaited.iter().all(|word| text.contains(word)) {
            drop(process.stdin.take());
        }
    }
    assert!(process.wait().unwrap().success(), "{text}");
    text
}

/// Until stdin is closed: all is told, or whoever waits for that is gone. No time is long
/// enough: reading lines takes four times as long under AddressSanitizer, and a busy machine makes
/// that a dozen times longer.
fn until_all_is_told() {
    let _ = std::io::stdin().read(&mut [0]);
}

#[inline(never)]
fn bystander_waits_here(here: &Sender<()>, told: &Receiver<()>) {
    here.send(()).unwrap();
    assert!(told.recv().is_err());
    std::hint::black_box(());
}

/// Runs `then` while a thread named `bystander` waits in `bystander_waits_here`.
fn beside_bystander(then: impl FnOnce()) {
    let ((go, told), (here, arrived)) = (channel::<()>(), channel());
    let thread = thread::Builder::new().name("bystander".to_owned());
    let waits = move || bystander_waits_here(&here, &told);
    let bystander = thread.spawn(waits).unwrap();
    // Else it may have yet to begin when the stacks are told.
    arrived.recv().unwrap();
    then();
    drop(go);
    bystander.join().unwrap();
}

#[test]
fn the_first_panic_tells_all_threads_and_later_ones_do_not() {
    let text = stderr_until("child_that_panics_twice", &["bystander_waits_here"]);
    assert_eq!(text.matches("on purpose").count(), 2, "{text}");
    assert_eq!(text.matches("panicked; all threads:").count(), 1, "{text}");
    let stacks = &text[text.find("panicked; all threads:").unwrap()..];
    let first = stacks.split("\n\n").nth(1).unwrap();
    assert!(first.contains("\"panics-0\""), "{stacks}");
    assert!(first.contains("panics_here"), "{stacks}");
    assert!(stacks.contains("bystander_waits_here"), "{stacks}");
}

#[test]
fn child_that_panics_twice() {
    if !plays("child_that_panics_twice") {
        return;
    }
    beside_bystander(|| {
        stacks::on_panic();
        stacks::on_panic();
        for name in ["panics-0", "panics-1"] {
            let thread = thread::Builder::new().name(name.to_owned());
            assert!(thread.spawn(panics_here).unwrap().join().is_err());
        }
        // A panic waits ten seconds for the stacks, and goes on without them.
        until_all_is_told();
    });
}

#[inline(never)]
fn panics_here() {
    panic!("on purpose");
}

/// The panicking thread holds the lock that the dump is written under: nobody waits for
/// ever, and the panic goes on.
#[test]
fn a_panic_that_holds_stderr_ends_all_the_same() {
    let text = stderr_of("child_that_panics_with_stderr_locked");
    assert!(text.contains("went on"), "{text}");
}

#[test]
fn child_that_panics_with_stderr_locked() {
    if !plays("child_that_panics_with_stderr_locked") {
        return;
    }
    stacks::on_panic();
    let result = thread::spawn(|| {
        let _held = std::io::stderr().lock();
        panics_here();
    })
    .join();
    assert!(result.is_err());
    eprintln!("went on");
}

#[test]
fn a_watchdog_that_is_not_fed_tells_all_threads_with_its_owner_first() {
    let text = stderr_until(
        "child_that_does_not_feed",
        &["bystander_waits_here", "hangs_here"],
    );
    let stacks = &text[text.find("was not fed; all threads:").unwrap()..];
    let first = stacks.split("\n\n").nth(1).unwrap();
    assert!(first.contains("hangs_here"), "{stacks}");
    assert!(stacks.contains("bystander_waits_here"), "{stacks}");
}

#[test]
fn child_that_does_not_feed() {
    if !plays("child_that_does_not_feed") {
        return;
    }
    beside_bystander(hangs_here);
}

#[inline(never)]
fn hangs_here() {
    // Here: a thread that gets no processor for as long may be told of before it has got here.
    let watchdog = stacks::watchdog(Duration::from_millis(50)).unwrap();
    watchdog.feed();
    until_all_is_told();
}
