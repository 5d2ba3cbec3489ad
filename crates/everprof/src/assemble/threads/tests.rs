//! Claims about who asks: what its stack has below the question is everprof's, of no lock's holder.
//!
//! In a program of its own, since a deadlock does not end.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::process::{self, Command};
use std::sync::{Barrier, Mutex, OnceLock};
use std::{env, ptr, thread};

use super::*;

const PROGRAM: &str = "EVERPROF_TEST_WHO_ASKS";
/// How a program ends that was not told of its deadlock.
const NOT_TOLD: i32 = 3;
/// Programs that may end so: some word of what a library has left on a stack may be near a lock.
const PROGRAMS: u32 = 3;

/// Pairs of locks, of which one is used: no words but those of who uses it are near.
static LOCKS: OnceLock<Vec<[Mutex<()>; 2]>> = OnceLock::new();
const PAIRS: usize = 100_000;

#[inline(never)]
fn locks() -> &'static [Mutex<()>; 2] {
    let all = LOCKS.get_or_init(|| (0..PAIRS).map(|_| Default::default()).collect());
    &all[PAIRS / 2]
}

/// Two threads of which each has one lock and waits for the other.
fn ring() {
    static BOTH_HAVE_ONE: OnceLock<Barrier> = OnceLock::new();
    for own in 0..2 {
        thread::spawn(move || {
            let locks = locks();
            let first = locks[own].lock().unwrap();
            BOTH_HAVE_ONE.get_or_init(|| Barrier::new(2)).wait();
            let second = locks[1 - own].lock().unwrap();
            drop((first, second));
        });
    }
}

/// Whether a dump tells of a deadlock whose locks the thread that asks has below its question.
#[inline(never)]
fn is_told() -> bool {
    let dump = WhoAsks::this_thread(|asker| {
        let words = [ptr::from_ref(locks()).addr(); 8];
        black_box(&words);
        let dump = threads_for(asker, "threads", &Ask::default());
        black_box(&words);
        dump
    });
    let dump = dump.unwrap();
    dump.comments()
        .any(|comment| comment.starts_with("deadlock: "))
}

fn program() -> ! {
    thread::spawn(ring).join().unwrap();
    for _ in 0..50 {
        thread::sleep(deadlock::LEAST_WAIT);
        if is_told() {
            process::exit(0);
        }
    }
    process::exit(NOT_TOLD)
}

#[test]
fn locks_that_who_asks_has_below_its_question_are_held_by_others() {
    if env::var_os(PROGRAM).is_some() {
        program();
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::locks_that_who_asks_has_below_its_question_are_held_by_others");
    for left in (0..PROGRAMS).rev() {
        let output = Command::new(env::current_exe().unwrap())
            .args([&test, "--exact", "--nocapture"])
            .env(PROGRAM, "1")
            .output()
            .unwrap();
        if output.status.code() != Some(NOT_TOLD) || left == 0 {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}\n{text}", output.status);
            return;
        }
    }
}
