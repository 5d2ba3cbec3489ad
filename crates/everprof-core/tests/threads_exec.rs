//! A process that calls `exec` while its threads are dumped: the next program must not get
//! the signal that asks them, whose handler it does not have.
//!
//! Without `before_exec` this failed six times of six on two loaded processors. Where `exec` is
//! ours it is called by itself.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(everprof_loom)
))]
#![allow(clippy::unwrap_used)]

mod again;

use std::ffi::{CString, c_char};
use std::hint::black_box;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{env, ptr, thread};

use everprof_core::threads;

/// So many are seldom all spared by chance.
const PROCESSES: u32 = 24;

#[test]
fn next_program_gets_no_question() {
    for _ in 0..PROCESSES {
        assert_quiet("before_exec");
    }
}

/// `exec` is called by itself where it is ours: with an array, and with a list. In a preloaded
/// library it is the agent's.
#[cfg(all(
    feature = "interpose",
    not(feature = "preload"),
    not(target_feature = "crt-static")
))]
#[test]
fn next_program_gets_no_question_where_exec_is_ours() {
    for _ in 0..PROCESSES / 2 {
        assert_quiet("execv");
        assert_quiet("execl");
    }
}

#[track_caller]
fn assert_quiet(way: &str) {
    let status = again::this_binary("replaces_itself")
        .env(PART, way)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{way}: {status}");
}

/// Set in the processes that the other tests start, and that this one ends: how.
const PART: &str = "EVERPROF_TEST_PART";

#[test]
fn replaces_itself() {
    let Some(way) = env::var_os(PART) else {
        return;
    };
    for _ in 0..2 {
        thread::spawn(|| {
            loop {
                let _ = threads::collect(Duration::from_millis(20));
            }
        });
    }
    // Busy for so long that it is asked again and again.
    let until = Instant::now() + Duration::from_millis(30);
    while Instant::now() < until {
        black_box(0);
    }
    // Long arguments, which `execve` takes its time to copy.
    let long = CString::new(vec![b'x'; 100_000]).unwrap();
    let (program, word) = (c"/bin/true".as_ptr(), long.as_ptr());
    let end = ptr::null::<c_char>();
    let mut words = vec![word; 16];
    words.push(end);
    match way.to_str().unwrap() {
        "execl" => {
            // SAFETY: C strings, ended by null.
            unsafe {
                libc::execl(
                    program, word, word, word, word, word, word, word, word, word, word, word,
                    word, word, word, word, word, end,
                )
            };
        }
        "execv" => {
            // SAFETY: a C string and an array of them that ends with null.
            unsafe { libc::execv(program, words.as_ptr()) };
        }
        _ => {
            let exec = threads::before_exec();
            // SAFETY: as above.
            unsafe { libc::execv(program, words.as_ptr()) };
            drop(exec);
        }
    }
    panic!("exec: {}", std::io::Error::last_os_error());
}
