//! Who takes profiles while the load runs: window by window, by the endpoint, of CPU time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, Scope};
use std::time::Duration;

use everprof::profile::{Profile, lookup};

use crate::figures::{self, Window, of_sites, read};
use crate::truth::{ALLOCATED, BURNT, CACHED, HELD_UP, Pair, WAITED};
use crate::{HEAP_PERIOD_BYTES, is_over};

/// What is cumulative: one profile a window, and its difference to the one before.
pub struct Windows(Vec<Cumulative>);

struct Cumulative {
    name: &'static str,
    truth: &'static Pair,
    sites: [&'static str; 2],
    first: Option<Profile>,
    last: Option<(Profile, [f64; 2])>,
    windows: Vec<Window>,
    /// Of the first two values, over all differences.
    sums: [i64; 2],
}

impl Windows {
    /// Of the profiles that are on.
    pub fn new(profiles: &[(&'static str, bool)]) -> Self {
        let on = profiles.iter().filter(|(_, is_on)| *is_on);
        Self(on.map(|&(name, _)| Cumulative::new(name)).collect())
    }

    pub fn begin(&mut self) {
        self.0.iter_mut().for_each(Cumulative::begin);
    }

    pub fn next(&mut self) {
        self.0.iter_mut().for_each(Cumulative::next);
    }

    pub fn print(&self) {
        self.0.iter().for_each(Cumulative::print);
    }
}

impl Cumulative {
    fn new(name: &'static str) -> Self {
        let (truth, sites) = match name {
            "heap" => (&ALLOCATED, ["makes_one", "makes_other"]),
            "block" => (&WAITED, ["waits_for_lock", "waits_for_word"]),
            _ => (&HELD_UP, ["holds_one", "holds_other"]),
        };
        Self {
            name,
            truth,
            sites,
            first: None,
            last: None,
            windows: Vec::new(),
            sums: [0; 2],
        }
    }

    fn take(&self) -> (Profile, [f64; 2]) {
        let before = self.truth.now();
        let profile = lookup(self.name).expect("it is served");
        let after = self.truth.now();
        let between = [0, 1].map(|side| f64::midpoint(before[side], after[side]));
        (profile, between)
    }

    fn begin(&mut self) {
        self.first = Some(self.take().0);
        self.last = Some(self.take());
        let (first, last) = (self.first.as_ref(), self.last.as_ref());
        if let (Some(first), Some((last, _))) = (first, last) {
            self.sums = sums(&last.delta(first).expect("of one name"));
        }
    }

    fn next(&mut self) {
        let (profile, truth) = self.take();
        let (before, truth_before) = self.last.as_ref().expect("begun");
        let delta = profile.delta(before).expect("of one name");
        let [one, two] = sums(&delta);
        self.sums = [self.sums[0] + one, self.sums[1] + two];
        let delta = read(&delta);
        self.windows.push(Window {
            truth: [0, 1].map(|side| truth[side] - truth_before[side]),
            // Bytes, or nanoseconds.
            seen: of_sites(&delta, 1, self.sites),
        });
        if self.name == "heap" {
            assert_labels(&delta);
        }
        self.last = Some((profile, truth));
    }

    fn print(&self) {
        let name = self.name;
        let truth = Some(figures::true_share(&self.windows));
        if let Some(share) = figures::share(&self.windows) {
            figures::print(&format!("{name}.share"), truth, share);
        }
        if let Some(whole) = figures::whole(&self.windows) {
            figures::print(&format!("{name}.seen/true"), Some(1.0), whole);
        }
        let (Some(first), Some((last, _))) = (&self.first, &self.last) else {
            return;
        };
        let whole = sums(&last.delta(first).expect("of one name"));
        assert_eq!(self.sums, whole, "{name}: deltas do not add up");
        println!("held {name}.deltas_add_up {}", self.windows.len());
        if name == "heap" {
            println!("held heap.labels_are_the_requests {}", self.windows.len());
            let cached = CACHED.now();
            let seen = of_sites(&read(last), 3, self.sites);
            let all = cached[0] + cached[1];
            let (truth, share) = (cached[0] / all, seen[0] / (seen[0] + seen[1]));
            // As many samples as periods, each of one kind or the other.
            let samples = all / HEAP_PERIOD_BYTES as f64;
            let sigma = (truth * (1.0 - truth) / samples).sqrt();
            figures::print("heap.in_use.share", Some(truth), (share, sigma));
            let ratio = (seen[0] + seen[1]) / all;
            let sigma = (1.0 / samples).sqrt();
            figures::print("heap.in_use.seen/true", Some(1.0), (ratio, sigma));
        }
    }
}

/// The first two values of all samples.
fn sums(profile: &Profile) -> [i64; 2] {
    let totals = read(profile).totals().to_vec();
    [totals[0], totals[1]]
}

/// Objects have the labels of the request that they were made for.
fn assert_labels(delta: &everprof_profile::Profile) {
    for (site, tenant) in [("makes_one", "one"), ("makes_other", "other")] {
        for sample in delta.samples() {
            let mut lines = sample.stack().flat_map(|at| delta.location(at).lines);
            if lines.any(|line| delta.function(line.function).name.ends_with(site)) {
                assert_eq!(sample.string_label("tenant"), Some(tenant), "{site}");
            }
        }
    }
}

/// CPU profiles one after the other.
#[derive(Default)]
pub struct Cpu(Vec<Window>);

pub fn cpu_until_the_end() -> Cpu {
    let mut windows = Vec::new();
    while !is_over() {
        let before = BURNT.now();
        let profile = everprof::cpu::profile(Duration::from_secs(1)).expect("no other is taken");
        let after = BURNT.now();
        windows.push(Window {
            truth: [0, 1].map(|side| after[side] - before[side]),
            seen: of_sites(&read(&profile), 1, ["burns_one", "burns_other"]),
        });
    }
    Cpu(windows)
}

impl Cpu {
    pub fn print(&self) {
        let Self(windows) = self;
        if let Some(share) = figures::share(windows) {
            figures::print("profile.share", Some(figures::true_share(windows)), share);
        }
        if let Some(whole) = figures::whole(windows) {
            figures::print("profile.seen/true", Some(1.0), whole);
        }
    }
}

/// Everything that the endpoint has, by TCP, from two at once.
pub fn by_endpoint<'scope>(scope: &'scope Scope<'scope, '_>) {
    for _ in 0..2 {
        scope.spawn(|| {
            let server = everprof::serve("127.0.0.1:0").expect("a port");
            // Some are there once they have something to tell.
            thread::sleep(Duration::from_millis(500));
            let mut answers = 0_u64;
            while !is_over() {
                for path in PATHS {
                    assert_ok(server.address(), path);
                    answers += 1;
                }
                thread::sleep(Duration::from_millis(50));
            }
            println!("held endpoint_answers {answers}");
        });
    }
}

fn assert_ok(address: &str, path: &str) {
    let mut connection = TcpStream::connect(address).expect("it listens");
    let request =
        format!("GET /debug/pprof/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("it answers");
    let line = answer
        .split(|&byte| byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    // What it is of goes when the load ends.
    let is_ok = line.starts_with("HTTP/1.1 200") || is_over();
    assert!(is_ok, "{path}: {line}");
}

const PATHS: [&str; 12] = [
    "",
    "heap",
    "allocs?debug=1",
    "heap?label=tenant:one",
    "heap?seconds=1",
    "block?idle=1",
    "mutex?debug=1",
    "threadcreate",
    "threads?debug=2",
    "goroutine?debug=1",
    "leases",
    "heap/soaked",
];
