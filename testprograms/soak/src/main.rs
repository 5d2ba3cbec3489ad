//! A service under load that knows what its profiles have to say, and asks.
//!
//! ```text
//! soak SECONDS all|heap|block|mutex|threadcreate|threads|profile|managed|custom
//! ```
//!
//! With `all` every profile is recorded and taken, over and over; with a name that one alone,
//! under the same load: requests by TCP, channels, locks, allocations, labels, threads born and
//! dying, signals without SA_RESTART, forks. `cargo xtask soak` runs both and compares.
//!
//! Printed at the end, a line each:
//!
//! | line | says |
//! |---|---|
//! | `figure NAME TRUTH SEEN SIGMA` | what the service knows (`-`: nothing), what the profile says, and the standard deviation of that |
//! | `held NAME COUNT` | a claim that holds exactly was looked at so often |
//! | `rss MiB MiB MiB MiB` | the most resident memory in each quarter of the run |
//!
//! A claim that does not hold ends the program.

mod asks;
mod exact;
mod figures;
mod hostile;
mod service;
mod truth;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use asks::Windows;

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

static STOP: AtomicBool = AtomicBool::new(false);

/// Whether the load has ended.
fn is_over() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Small enough that all figures have their thousands of samples in half a minute.
const HEAP_PERIOD_BYTES: u64 = 64 << 10;
const WAIT_PERIOD_NANOS: u64 = 100_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [seconds, which] = &words[..] else {
        panic!("usage: soak SECONDS all|NAME");
    };
    let seconds: u64 = seconds.parse().expect("SECONDS is a number");
    let is_on = |name: &str| which == "all" || which == name;
    let period = |name: &str, period: u64| if is_on(name) { period } else { 0 };
    everprof::heap::set_period(period("heap", HEAP_PERIOD_BYTES));
    everprof::block::set_period(period("block", WAIT_PERIOD_NANOS));
    everprof::mutex::set_period(period("mutex", WAIT_PERIOD_NANOS));

    let mut windows = Windows::new(&["heap", "block", "mutex"].map(|name| (name, is_on(name))));
    let mut cpu = asks::Cpu::default();
    let mut quarters = [0; 4];
    thread::scope(|scope| {
        // However this scope is left, the load ends.
        let _end = EndOnDrop;
        service::start(scope);
        hostile::start(scope);
        exact::start(scope, &is_on);
        if which == "all" {
            asks::by_endpoint(scope);
        }
        let taken = is_on("profile").then(|| scope.spawn(asks::cpu_until_the_end));
        let (begun, whole) = (Instant::now(), Duration::from_secs(seconds));
        let window = (whole / 60).max(Duration::from_secs(1));
        windows.begin();
        while begun.elapsed() < whole {
            thread::sleep(window);
            windows.next();
            let quarter = (begun.elapsed().as_millis() * 4 / whole.as_millis()).min(3) as usize;
            quarters[quarter] = resident_mib().max(quarters[quarter]);
        }
        STOP.store(true, Ordering::Relaxed);
        if let Some(taken) = taken {
            cpu = taken.join().expect("no panic");
        }
    });
    windows.print();
    cpu.print();
    exact::print(&is_on);
    println!(
        "rss {} {} {} {}",
        quarters[0], quarters[1], quarters[2], quarters[3]
    );
    hostile::print();
}

struct EndOnDrop;

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        STOP.store(true, Ordering::Relaxed);
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("the kernel tells VmRSS") / 1024
}
