//! A dump of many threads that sleep, and of two that are busy.
//!
//! ```text
//! cargo bench -p everprof-core --bench threads                          waits are not recorded
//! cargo bench -p everprof-core --bench threads --features interpose     they are
//! ```
//!
//! Printed: milliseconds of the first dump and of the median of the next nine (names and
//! all), the processor time that the median took, how many stacks came from outside, how many
//! of those were known from a recorded wait, and the longest gap that a busy thread saw, with and
//! without a dump; how long a running thread was held, beside a handler that does nothing. The
//! machine's other work is in all of them, least in the processor time.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use everprof_core::clock;
use everprof_core::stack::StackEnd;
use everprof_core::threads::{Dump, Source, collect};

const PATIENCE: Duration = Duration::from_secs(2);

fn main() {
    everprof_core::modules::refresh();
    println!(
        "{:>8}{:>12}{:>12}{:>12}{:>10}{:>10}{:>10}{:>12}{:>12}",
        "threads",
        "first ms",
        "median ms",
        "cpu ms",
        "outside",
        "recorded",
        "whole",
        "gap us",
        "gap us idle"
    );
    for count in [100, 1000, 5000] {
        sleeping(count);
    }
    held();
}

fn sleeping(count: usize) {
    let gate = (Mutex::new(false), Condvar::new());
    let asleep = AtomicU64::new(0);
    let gap = AtomicU64::new(0);
    let run = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..count {
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, || {
                    nest(12, &mut || {
                        asleep.fetch_add(1, Ordering::SeqCst);
                        let mut open = gate.0.lock().expect("not poisoned");
                        while !*open {
                            open = gate.1.wait(open).expect("not poisoned");
                        }
                    });
                })
                .expect("a thread");
        }
        while asleep.load(Ordering::SeqCst) != count as u64 {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(100));
        let first = collect(PATIENCE);
        let timed = || {
            let before_nanos = cpu_nanos();
            let dump = collect(PATIENCE);
            (dump, cpu_nanos() - before_nanos)
        };
        let mut dumps: Vec<(Dump, u64)> = (0..9).map(|_| timed()).collect();
        dumps.sort_by_key(|(_, cpu_nanos)| *cpu_nanos);
        let median_cpu_nanos = dumps[4].1;
        dumps.sort_by_key(|(dump, _)| dump.duration_nanos());
        let median = &dumps[4].0;
        let recorded = |dump: &Dump| {
            dump.iter()
                .filter(|thread| matches!(thread.source, Source::Recorded(_)))
                .count()
        };
        let outside = |dump: &Dump| {
            let found = dump
                .iter()
                .filter(|thread| thread.source == Source::Outside);
            found.count() + recorded(dump)
        };
        let whole = |dump: &Dump| {
            dump.iter()
                .filter(|thread| thread.end == StackEnd::Root)
                .count()
        };
        scope.spawn(|| {
            let mut last = Instant::now();
            while run.load(Ordering::Relaxed) {
                let now = Instant::now();
                gap.fetch_max((now - last).as_nanos() as u64, Ordering::Relaxed);
                last = now;
            }
        });
        let gap_during = |work: &dyn Fn()| {
            thread::sleep(Duration::from_millis(5));
            gap.store(0, Ordering::Relaxed);
            work();
            gap.load(Ordering::Relaxed) / 1000
        };
        let dumping = gap_during(&|| _ = black_box(collect(PATIENCE)));
        let idle = gap_during(&|| thread::sleep(Duration::from_nanos(median.duration_nanos())));
        println!(
            "{:>8}{:>12.2}{:>12.2}{:>12.2}{:>10}{:>10}{:>10}{:>12}{:>12}",
            count,
            first.duration_nanos() as f64 / 1e6,
            median.duration_nanos() as f64 / 1e6,
            median_cpu_nanos as f64 / 1e6,
            outside(median),
            recorded(median),
            whole(median),
            dumping,
            idle,
        );
        run.store(false, Ordering::Relaxed);
        *gate.0.lock().expect("not poisoned") = true;
        gate.1.notify_all();
    });
}

/// Processor time that this thread has taken.
fn cpu_nanos() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How long the handler holds a thread that runs, and, taken in turns with it, how long one does
/// that reads the clock twice and does nothing: what the machine's other work makes of both.
fn held() {
    let run = AtomicBool::new(true);
    let tids = [const { AtomicU32::new(0) }; 2];
    install_nothing();
    thread::scope(|scope| {
        for tid in &tids {
            let run = &run;
            scope.spawn(move || {
                tid.store(own_tid(), Ordering::Release);
                nest(12, &mut || {
                    while run.load(Ordering::Relaxed) {
                        black_box(nest(8, &mut || ()));
                    }
                })
            });
        }
        while tids.iter().any(|tid| tid.load(Ordering::Acquire) == 0) {
            thread::yield_now();
        }
        let (mut held, mut nothing) = (Vec::new(), Vec::new());
        for _ in 0..1000 {
            held.extend(
                collect(PATIENCE)
                    .iter()
                    .filter_map(|thread| match thread.source {
                        Source::Signalled { held_nanos } => Some(held_nanos),
                        _ => None,
                    }),
            );
            nothing.extend(tids.iter().filter_map(hold_with_nothing));
        }
        run.store(false, Ordering::Relaxed);
        println!();
        print_held("the handler", held);
        print_held("one that does nothing", nothing);
    });
}

fn print_held(by: &str, mut nanos: Vec<u64>) {
    nanos.sort_unstable();
    let at = |share: usize| {
        let at = nanos.get(nanos.len() * share / 100);
        at.copied().unwrap_or_default()
    };
    println!(
        "held by {by}, {} times: median {} ns, 99 % {} ns, longest {} ns",
        nanos.len(),
        at(50),
        at(99),
        nanos.last().copied().unwrap_or_default(),
    );
}

/// Of the last thread that was signalled; `u64::MAX`: not yet.
static NOTHING_NANOS: AtomicU64 = AtomicU64::new(0);

extern "C" fn nothing(_: libc::c_int) {
    let start_nanos = clock::early_nanos();
    let nanos = clock::early_nanos().saturating_sub(start_nanos);
    NOTHING_NANOS.store(nanos, Ordering::Release);
}

/// Dumps take their signal from the other end.
fn install_nothing() {
    let handler = nothing as extern "C" fn(libc::c_int);
    // SAFETY: the handler reads a clock and stores a number.
    unsafe { libc::signal(libc::SIGRTMIN(), handler as libc::sighandler_t) };
}

/// Nothing: it did not come within ten milliseconds.
fn hold_with_nothing(tid: &AtomicU32) -> Option<u64> {
    NOTHING_NANOS.store(u64::MAX, Ordering::Release);
    let (process, tid) = (std::process::id(), tid.load(Ordering::Acquire));
    // SAFETY: the signal has a handler.
    unsafe { libc::syscall(libc::SYS_tgkill, process, tid, libc::SIGRTMIN()) };
    for _ in 0..100 {
        let nanos = NOTHING_NANOS.load(Ordering::Acquire);
        if nanos != u64::MAX {
            return Some(nanos);
        }
        thread::sleep(Duration::from_micros(50));
    }
    None
}

fn own_tid() -> u32 {
    // SAFETY: takes no argument.
    unsafe { libc::gettid() }.cast_unsigned()
}

#[inline(never)]
fn nest(depth: usize, leaf: &mut dyn FnMut()) -> usize {
    let mut room = [0_u8; 24];
    black_box(&mut room);
    if depth == 0 {
        leaf();
    } else {
        nest(depth - 1, leaf);
    }
    black_box(&mut room);
    depth
}
