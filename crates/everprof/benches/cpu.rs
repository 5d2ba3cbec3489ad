//! What a CPU profile costs the program it is taken of: the same work with and without,
//! taking turns, by the thread's own CPU clock.
//!
//! ```text
//! cargo bench -p everprof --bench cpu
//! ```
//!
//! The least of many rounds on either side: whatever disturbs a machine only adds time.
//! A round is a tenth of a second, so that each has its ten signals at 100 Hz. Without
//! cargo's `--bench` there is one round, so that a test run over all targets stays quick.

use std::hint::black_box;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use everprof_core::global;
use everprof_core::own_threads::OwnThread;

/// Of each side.
const ROUNDS: u32 = 40;

fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--bench") {
        ROUNDS
    } else {
        1
    };
    everprof_core::modules::refresh();
    println!(
        "{:<12}{:>8}{:>12}{:>12}{:>10}",
        "depth", "hz", "ms without", "ms with", "ratio"
    );
    for depth in [8, 32, 100] {
        for hz in [100, 1000] {
            descend(depth, &mut || compare(depth, hz, rounds));
        }
    }
    println!();
    println!(
        "{:<12}{:>10}{:>12}{:>12}{:>10}",
        "us, threads", "start", "no births", "a birth", "stop"
    );
    for threads in [10, 100, 1000] {
        keep_up(threads, rounds);
    }
}

/// What the thread that takes a profile does for others that wait: microseconds, the
/// least of the rounds. Every eighth look reads the list of threads all the same.
fn keep_up(threads: usize, rounds: u32) {
    let _own = OwnThread::register();
    let mut ends = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..threads {
        let (end, ended) = channel::<()>();
        ends.push(end);
        let small = thread::Builder::new().stack_size(64 << 10);
        match small.spawn(move || ended.recv()) {
            Ok(thread) => waiting.push(thread),
            Err(e) => println!("{e}"),
        }
    }
    let mut least = [f64::INFINITY; 4];
    for _ in 0..rounds {
        let mut session = None;
        let started = micros(|| session = global::start_cpu(100).ok());
        let Some(mut session) = session else { return };
        let idle = (0..7).map(|_| micros(|| session.cover()));
        let idle = idle.fold(f64::INFINITY, f64::min);
        let (end, ended) = channel::<()>();
        let born = thread::spawn(move || ended.recv());
        let birth = micros(|| session.cover());
        drop(end);
        drop(born.join());
        let stopped = micros(|| drop(session));
        for (least, now) in least.iter_mut().zip([started, idle, birth, stopped]) {
            *least = least.min(now);
        }
    }
    let [start, idle, birth, stop] = least;
    println!("{threads:<12}{start:>10.1}{idle:>12.1}{birth:>12.1}{stop:>10.1}");
    drop(ends);
    for thread in waiting {
        drop(thread.join());
    }
}

fn micros(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos() as f64 / 1e3
}

fn compare(depth: u32, hz: u32, rounds: u32) {
    let (mut without, mut with) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        without = without.min(nanos(work));
        let Ok(session) = global::start_cpu(hz) else {
            println!("no CPU profiles here");
            return;
        };
        with = with.min(nanos(work));
        drop(session);
    }
    println!(
        "{depth:<12}{hz:>8}{:>12.2}{:>12.2}{:>10.4}",
        without / 1e6,
        with / 1e6,
        with / without,
    );
}

/// About a tenth of a second.
fn work() {
    for n in 0..400_000_000_u64 {
        black_box(n);
    }
}

fn nanos(work: impl Fn()) -> f64 {
    let began = thread_nanos();
    work();
    (thread_nanos() - began) as f64
}

fn thread_nanos() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[inline(never)]
fn descend(depth: u32, then: &mut dyn FnMut()) {
    if depth == 0 {
        then();
    } else {
        descend(depth - 1, then);
    }
    // Kept past the call, so that it is no tail call and the frame is real.
    black_box(depth);
}
