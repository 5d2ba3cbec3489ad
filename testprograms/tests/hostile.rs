//! Every hostile program ends as it should with everprof's allocator in it:
//! with every allocation sampled, with many sampled, and with the default.
#![cfg(feature = "linked")]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use everprof_profile::trace::{Reader, What};

const PERIODS: [&str; 3] = ["heap=1", "heap=4KiB", "heap=512KiB"];

fn run(program: &str, period: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .env("EVERPROF", period)
        .output()
        .unwrap()
}

#[track_caller]
fn assert_ok(program: &str, period: &str, output: &Output) {
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && stdout == "ok\n",
        "{program} under EVERPROF={period}: {}\nstdout: {stdout}\nstderr: {stderr}",
        output.status
    );
}

fn survives(program: &str) {
    for period in PERIODS {
        assert_ok(program, period, &run(program, period, &[]));
    }
    for period in ["heap=off", "heap=1"] {
        survives_a_trace(program, period);
    }
}

/// Every event is traced. The trace is whole, and a free is of an object that was allocated.
fn survives_a_trace(program: &str, period: &str) {
    let name = Path::new(program).file_name().unwrap().to_str().unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{period}.trace"));
    let settings = format!("{period},trace={}", file.display());
    assert_ok(program, &settings, &run(program, &settings, &[]));
    let mut reader = Reader::new(File::open(&file).unwrap()).unwrap();
    // By sums and not by turns: a reallocation stands where it began, and another thread may
    // have freed the address that it came to in the meantime.
    let mut objects = HashMap::<u64, i64>::new();
    let mut count = |address, by| *objects.entry(address).or_default() += by;
    while let Some(event) = reader.next_event() {
        match event.what {
            What::Alloc { address, .. } => count(address, 1),
            What::Free { address } => count(address, -1),
            What::Realloc {
                old_address,
                address,
                ..
            } => {
                count(old_address, -1);
                count(address, 1);
            }
            _ => {}
        }
    }
    let ending = reader.ending();
    let totals = ending.totals;
    assert!(totals.is_some(), "{settings}: {ending}");
    let lost = totals.map_or(0, |totals| totals.lost);
    let unknown = objects.values().filter(|count| **count < 0).count();
    assert!(ending.events > 10, "{settings}: {ending}");
    assert!(
        unknown == 0 || lost != 0,
        "{settings}: {ending}, {lost} lost, {unknown} frees of unknown objects"
    );
    std::fs::remove_file(&file).unwrap();
}

macro_rules! hostile {
    ($($(#[$attribute:meta])* $name:ident: $binary:literal;)*) => {
        $($(#[$attribute])* #[test]
        fn $name() {
            survives(env!(concat!("CARGO_BIN_EXE_", $binary)));
        })*
    };
}

hostile! {
    every_layout_and_realloc_keeps_its_bytes: "churn";
    tls_destructors_may_allocate: "tls_destructor";
    thread_storms_pass: "thread_storm";
    ten_thousand_threads_pass: "many_threads";
    // AddressSanitizer's frames alone are larger than 16 KiB.
    #[cfg(not(everprof_sanitizer = "address"))]
    small_stacks_hold_a_capture: "small_stacks";
    forked_children_of_a_busy_process_work: "fork_busy";
    panics_unwind_through_sampled_frames: "panic_unwind";
    longjmp_over_sampled_frames_heals: "longjmp";
    signals_at_any_moment_pass: "signal_storm";
    blocks_may_be_freed_and_resized_elsewhere: "free_elsewhere";
    exit_in_a_thread_keeps_its_status: "exit_in_thread";
    refused_allocations_stay_refused: "out_of_memory";
    zeroed_blocks_stay_lazy: "zeroed_is_lazy";
    // AddressSanitizer's `realloc` copies.
    #[cfg(not(everprof_sanitizer = "address"))]
    growth_goes_through_mremap: "growing_vec";
    threads_that_wait_in_every_way_end_and_leave_nobody_waiting: "waits_soak";
    dumps_pass_while_threads_are_born_panic_and_die: "dump_storm";
}

#[test]
fn abort_in_a_thread_ends_by_its_signal() {
    let program = env!("CARGO_BIN_EXE_abort_in_thread");
    for period in PERIODS {
        let output = run(program, period, &[]);
        assert_eq!(
            output.status.signal(),
            Some(libc::SIGABRT),
            "{period}: {}",
            output.status
        );
        assert_eq!(output.stdout, b"ok\n");
    }
}

#[test]
fn trace_of_a_program_that_is_killed_is_read_up_to_there() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("killed.trace");
    let mut child = Command::new(env!("CARGO_BIN_EXE_signal_storm"))
        .env("EVERPROF", format!("trace={}", file.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // In the midst of writing, wherever that is.
    while std::fs::metadata(&file).map_or(0, |file| file.len()) < 10_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended too soon");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut reader = Reader::new(File::open(&file).unwrap()).unwrap();
    while reader.next_event().is_some() {}
    let ending = reader.ending();
    assert!(ending.totals.is_none() && ending.events > 500, "{ending}");
    assert!(ending.to_string().starts_with("cut off"), "{ending}");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn libraries_may_come_and_go() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let source = directory.join("called_back.c");
    let library = directory.join("libcalled_back.so");
    std::fs::write(
        &source,
        "int call_back(int (*f)(int), int n) { volatile int first = f(n); return first + f(n); }\n",
    )
    .unwrap();
    let compiled = Command::new("cc")
        .args(["-O2", "-fomit-frame-pointer", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .expect("a C compiler named `cc`");
    assert!(compiled.success());
    let program = env!("CARGO_BIN_EXE_dlopen_loop");
    for period in PERIODS {
        assert_ok(
            program,
            period,
            &run(program, period, &[library.to_str().unwrap()]),
        );
    }
}
