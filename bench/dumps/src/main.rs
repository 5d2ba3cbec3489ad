//! Dumps of many threads that wait, and labels: what `bench/go/dumps.go` does in Go.
//!
//! ```text
//! dumps dump COUNT ROUNDS   two lines: stacks, then text with names
//! dumps wait COUNT          prints its process id and waits, for a debugger
//! dumps label TURNS         one line: nanoseconds of a label set and dropped
//! ```
//!
//! A line of a dump is the median of the rounds, in milliseconds by the clock and of
//! CPU time of the thread that makes it. All threads but one, which is busy, wait for a condition
//! under twelve frames.

use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use everprof::labels;

static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
static ARRIVED: AtomicUsize = AtomicUsize::new(0);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = words.iter().flat_map(|word| word.parse()).collect();
    match (words.first().map(String::as_str), &numbers[..]) {
        (Some("dump"), &[count, rounds]) => {
            start(count);
            thread::spawn(|| nest(12, &|| while !black_box(false) {}));
            let stacks = || drop(black_box(everprof_core::threads::collect(PATIENCE)));
            print_median(rounds, &stacks);
            let text = || {
                let mut text = String::new();
                everprof::stacks::write(true, &mut text).expect("threads can be told");
                drop(black_box(text));
            };
            print_median(rounds, &text);
        }
        (Some("wait"), &[count]) => {
            start(count);
            println!("{}", std::process::id());
            std::io::stdout().flush().expect("a pipe");
            thread::sleep(Duration::from_secs(600));
        }
        (Some("label"), &[turns]) => {
            let best = (0..20).map(|_| {
                let begun = Instant::now();
                for _ in 0..turns {
                    let tenant = black_box("acme-corp-17");
                    let _labels = black_box(labels! { "tenant" => tenant });
                }
                begun.elapsed().as_nanos() as f64 / turns as f64
            });
            println!("{:.1}", best.fold(f64::INFINITY, f64::min));
        }
        _ => panic!("usage: dumps dump COUNT ROUNDS | wait COUNT | label TURNS"),
    }
}

/// Longer than a busy thread takes to answer on any machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts as many threads, and returns when they wait.
fn start(count: usize) {
    for _ in 0..count {
        let small = thread::Builder::new().stack_size(64 << 10);
        let waits = || {
            nest(12, &|| {
                ARRIVED.fetch_add(1, Ordering::Relaxed);
                let mut open = GATE.0.lock().expect("nobody panics");
                while !*open {
                    open = GATE.1.wait(open).expect("nobody panics");
                }
            });
        };
        small.spawn(waits).expect("a thread");
    }
    while ARRIVED.load(Ordering::Relaxed) < count {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(100));
}

#[inline(never)]
fn nest(depth: u32, leaf: &dyn Fn()) {
    if depth == 0 {
        leaf();
    } else {
        nest(depth - 1, leaf);
    }
    // Kept past the call, so that it is no tail call and the frame is real.
    black_box(depth);
}

/// The first one is thrown away: the kernel makes its entries then.
fn print_median(rounds: usize, work: &dyn Fn()) {
    work();
    let mut times: Vec<(f64, f64)> = (0..rounds)
        .map(|_| {
            let (begun, before) = (Instant::now(), cpu_millis());
            work();
            (begun.elapsed().as_secs_f64() * 1e3, cpu_millis() - before)
        })
        .collect();
    times.sort_by(|one, other| one.0.total_cmp(&other.0));
    let wall = times[rounds / 2].0;
    times.sort_by(|one, other| one.1.total_cmp(&other.1));
    println!("{wall:.2} {:.2}", times[rounds / 2].1);
}

/// CPU time of this thread, which makes the dump: the busy one's is not the dump's.
fn cpu_millis() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
