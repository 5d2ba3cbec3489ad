//! The same work under one CPU profiler or none: what it costs, and how much of the CPU
//! time the profiler has seen.
//!
//! ```text
//! cpu none|everprof|pprof HZ THREADS TURNS
//! ```
//!
//! Prints the CPU time that the process took for the work, in milliseconds, and what the
//! profiler's samples add up to. Run them in turns, and compare ratios. Frames are 32 deep.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use everprof_core::cpu::COVER_EVERY;
use everprof_core::global;
use everprof_core::own_threads::OwnThread;

const DEPTH: u32 = 32;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [profiler, numbers @ ..] = &arguments[..] else {
        panic!("cpu none|everprof|pprof HZ THREADS TURNS");
    };
    let numbers: Vec<u32> = numbers.iter().flat_map(|word| word.parse()).collect();
    let [hz, threads, turns] = numbers[..] else {
        panic!("expected HZ THREADS TURNS, not {numbers:?}");
    };
    let before = process_millis();
    let seen = match profiler.as_str() {
        "none" => {
            run(threads, turns, || thread::sleep(COVER_EVERY));
            0.0
        }
        "everprof" => under_everprof(hz, threads, turns),
        "pprof" => under_pprof(hz, threads, turns),
        other => panic!("expected none, everprof or pprof, not `{other}`"),
    };
    let took = process_millis() - before;
    println!("took {took:.1} seen {seen:.1} ms");
}

fn under_everprof(hz: u32, threads: u32, turns: u32) -> f64 {
    let _own = OwnThread::register();
    let mut session = global::start_cpu(hz).expect("the first in this process");
    run(threads, turns, || {
        thread::sleep(COVER_EVERY);
        session.cover();
    });
    let mut nanos = 0;
    session.stop().for_each(|bucket| nanos += bucket.nanos);
    nanos as f64 / 1e6
}

fn under_pprof(hz: u32, threads: u32, turns: u32) -> f64 {
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(i32::try_from(hz).expect("small"))
        .build()
        .expect("the first in this process");
    run(threads, turns, || thread::sleep(Duration::from_millis(5)));
    let report = guard.report().build_unresolved().expect("samples");
    let samples: isize = report.data.values().sum();
    samples as f64 * 1000.0 / f64::from(hz)
}

/// Does the work on threads of its own, and `meanwhile` over and over until it is done.
fn run(threads: u32, turns: u32, mut meanwhile: impl FnMut()) {
    let working: Vec<_> = (0..threads)
        .map(|_| {
            thread::spawn(move || {
                global::cpu().thread_began();
                descend(DEPTH, turns);
            })
        })
        .collect();
    while !working.iter().all(thread::JoinHandle::is_finished) {
        meanwhile();
    }
    for thread in working {
        thread.join().expect("no panic");
    }
}

#[inline(never)]
fn descend(depth: u32, turns: u32) {
    if depth == 0 {
        for n in 0..turns {
            for m in 0..1_000_u32 {
                black_box(n ^ m);
            }
        }
    } else {
        descend(depth - 1, turns);
    }
    // Kept past the call, so that it is no tail call and the frame is real.
    black_box(depth);
}

fn process_millis() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
