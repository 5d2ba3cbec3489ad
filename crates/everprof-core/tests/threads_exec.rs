//! A process that calls `exec` while its threads are dumped: the next program must not get
//! the signal that asks them, whose handler it does not have.
//!
//! Without `before_exec` this failed six times of six on two loaded processors.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(everprof_loom)
))]
#![allow(clippy::unwrap_used)]

use std::ffi::CString;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, ptr, thread};

use everprof_core::threads;

/// So many are seldom all spared by chance.
const PROCESSES: u32 = 24;

#[test]
fn next_program_gets_no_question() {
    for _ in 0..PROCESSES {
        let status = Command::new(env::current_exe().unwrap())
            .args(["--exact", "replaces_itself"])
            .env(PART, "1")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
    }
}

/// Set in the processes that the other test starts, and that this one ends.
const PART: &str = "EVERPROF_TEST_PART";

#[test]
fn replaces_itself() {
    if env::var_os(PART).is_none() {
        return;
    }
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
    let mut arguments = vec![long.as_ptr(); 16];
    arguments.push(ptr::null());
    let exec = threads::before_exec();
    // SAFETY: a C string and an array of them that ends with null.
    unsafe { libc::execv(c"/bin/true".as_ptr(), arguments.as_ptr()) };
    drop(exec);
    panic!("execv: {}", std::io::Error::last_os_error());
}
