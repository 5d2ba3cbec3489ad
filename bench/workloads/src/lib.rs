//! Four allocation patterns, the same in every peer's binary.
//!
//! `PEER WORKLOAD [SCALE]` runs one and prints one line: seconds by the clock,
//! seconds of CPU time, and the process's peak resident memory in KiB. Only
//! the loop is timed; start-up and the making of the JSON text are not.
//!
//! | name | what it does |
//! |---|---|
//! | `w1` | allocate 64 bytes and free them again |
//! | `w2` | 100,000 objects in use, 16 B to 64 KiB, log-uniform, replaced at random |
//! | `w3` | parse and drop a JSON text, build and drop a `BTreeMap` |
//! | `w4` | `w2` on eight threads with 12,500 objects in use each |
//! | `pair8` `pair16` | SCALE pairs of 64 bytes at align 8 or 16, for instruction counts |
//!
//! `bench/go/main.go` does the same in Go; sizes, counts and seeds are kept equal there.

pub mod depth;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

const SEED: u64 = 88_172_645_463_325_252;

/// Runs the workload that the command line names.
///
/// # Panics
/// Where the command line names none.
pub fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().expect("usage: PEER WORKLOAD [SCALE]");
    let scale: f64 = arguments
        .next()
        .map_or(1.0, |text| text.parse().expect("SCALE is a number"));
    let times = |count: u32| (f64::from(count) * scale) as usize;

    let json = if name == "w3" {
        json_text(times(20_000_000))
    } else {
        String::new()
    };
    timed(|| match name.as_str() {
        "w1" => pairs(times(60_000_000)),
        "w2" => drop(replace(times(1_200_000), 100_000, SEED)),
        "w3" => parse_and_build(&json, times(600_000)),
        "w4" => on_eight_threads(times(180_000)),
        "pair8" => pairs(scale as usize),
        "pair16" => aligned_pairs(scale as usize),
        _ => panic!("{name}: not one of w1 w2 w3 w4 pair8 pair16"),
    });
}

/// Runs `work` and prints its line: seconds by the clock, of CPU, peak KiB.
pub fn timed(work: impl FnOnce()) {
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    work();
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("{wall} {cpu} {}", peak_resident_kib());
}

#[inline(never)]
fn pairs(count: usize) {
    for i in 0..count {
        black_box(Box::new([i as u64; 8]));
    }
}

#[repr(align(16))]
struct Aligned([u64; 8]);

#[inline(never)]
fn aligned_pairs(count: usize) {
    for i in 0..count {
        black_box(&Box::new(Aligned([i as u64; 8])).0);
    }
}

#[inline(never)]
fn replace(count: usize, live: usize, seed: u64) -> Vec<Vec<u8>> {
    let sizes: Vec<usize> = (0..4096)
        .map(|i| (16.0 * 4096f64.powf((f64::from(i) + 0.5) / 4096.0)) as usize)
        .collect();
    let mut random = Random(seed);
    let make = |random: &mut Random| {
        let mut bytes: Vec<u8> = Vec::with_capacity(sizes[(random.next() >> 20) as usize & 4095]);
        // Both ends are touched, so that the pages between cost what they would.
        if let [first, .., last] = bytes.spare_capacity_mut() {
            first.write(1);
            last.write(1);
        }
        bytes
    };
    let mut set: Vec<Vec<u8>> = (0..live).map(|_| make(&mut random)).collect();
    for _ in 0..count {
        let index = (random.next() >> 16) as usize % live;
        set[index] = make(&mut random);
    }
    set
}

fn on_eight_threads(count: usize) {
    // Nobody frees before everybody has got its objects: else the peak depends
    // on who was scheduled when.
    let all_done = &Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let set = replace(count, 12_500, SEED + thread * 977);
                all_done.wait();
                drop(black_box(set));
            });
        }
    });
}

#[inline(never)]
fn parse_and_build(json: &str, count: usize) {
    let value: serde_json::Value = serde_json::from_str(json).expect("we wrote it");
    drop(black_box(value));
    let mut random = Random(777);
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for i in 0..count {
        map.entry(format!("key{}", random.next() % 100_000))
            .or_default()
            .push(format!("value number {i} of {}", random.next() & 0xffff));
    }
    black_box(&map);
}

fn json_text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 1000);
    let mut random = Random(12_345);
    text.push('[');
    while text.len() < bytes {
        if text.len() > 1 {
            text.push(',');
        }
        let x = random.next();
        let _ = write!(
            text,
            "{{\"id\":{},\"name\":\"user{}\",\"email\":\"user{}@example.com\",\
             \"tags\":[\"a{}\",\"beta{}\",\"gamma{}\"],\"score\":{}.5,\"active\":true,\
             \"nested\":{{\"lat\":{}.25,\"lon\":-{}.75,\"note\":\"a longer note, number {}, for padding\"}}}}",
            x % 1_000_000,
            x % 99_991,
            x % 88_883,
            x % 7,
            x % 71,
            x % 711,
            x % 100,
            x % 90,
            x % 180,
            x % 12_347
        );
    }
    text.push(']');
    text
}

/// Marsaglia's xorshift64: the same numbers in Rust and in Go.
struct Random(u64);

impl Random {
    #[inline]
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// CPU time that this process has taken.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Peak resident memory of this process, from `VmHWM` of `/proc/self/status`.
fn peak_resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
