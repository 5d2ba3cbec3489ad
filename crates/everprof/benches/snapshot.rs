//! What one look at a full profile costs: 100,000 stacks, each of about 40
//! frames, taken, named from the symbol table and written as pprof.
//!
//! Prints the least time of five, and how far the process's memory rose at most
//! above what it was before the first of them. (The peak is reset through
//! `/proc/self/clear_refs`, where the kernel lets us.)

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use everprof::heap::set_period;
use everprof::{Request, handle};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

/// As many stacks as there are numbers of this many bits.
const BITS: u32 = 17;
const STACKS: u32 = 100_000;

#[inline(never)]
fn left(path: u32, level: u32) -> Box<u64> {
    black_box(descend(path, level))
}

#[inline(never)]
fn right(path: u32, level: u32) -> Box<u64> {
    black_box(descend(path, level))
}

/// The bits of `path` say which function calls which, so each path is a stack
/// of its own.
#[inline(never)]
fn descend(path: u32, level: u32) -> Box<u64> {
    if level == 0 {
        return Box::new(u64::from(path));
    }
    if path & 1 == 0 {
        left(path >> 1, level - 1)
    } else {
        right(path >> 1, level - 1)
    }
}

fn memory(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn measure(name: &str, idle_kb: Option<u64>, mut work: impl FnMut()) {
    let peak_is_reset = fs::write("/proc/self/clear_refs", "5").is_ok();
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        work();
        least = least.min(start.elapsed().as_secs_f64() * 1e3);
    }
    let rise = match (idle_kb, memory("VmHWM:")) {
        (Some(idle), Some(peak)) if peak_is_reset => {
            format!("{:.1} MB", peak.saturating_sub(idle) as f64 / 1e3)
        }
        _ => "unknown".to_owned(),
    };
    println!("{name:<32} {least:>8.1} ms   {rise} above idle");
}

fn main() {
    set_period(1);
    let kept: Vec<_> = (0..STACKS).map(|path| left(path, BITS)).collect();
    set_period(512 << 10);
    let idle = memory("VmRSS:");

    let mut records = 0;
    measure("snapshot", idle, || {
        records = 0;
        everprof::heap::for_each(|record| {
            black_box(record.in_use_bytes());
            records += 1;
        });
    });
    println!("{records} records");
    for symbolize in ["none", "names"] {
        let request = Request::get(format!("/debug/pprof/heap?symbolize={symbolize}"));
        measure(&format!("pprof, symbolize={symbolize}"), idle, || {
            assert_eq!(black_box(handle(&request)).status, 200);
        });
    }
    drop(kept);
}
