//! What one look at a full profile costs: 100,000 stacks, each of about 40
//! frames, taken, named from the symbol table and written as pprof.
//!
//! Prints milliseconds for each step (the least of five) and how far the
//! process's memory rose at most above what it was before. `VmHWM` is reset
//! between the steps through `/proc/self/clear_refs`, where the kernel lets us.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use everprof::heap::{IncludeFreed, records, set_period};
use everprof::{Request, handle, profile};

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

fn measure(name: &str, mut work: impl FnMut()) {
    // A first time: what is kept from then on (files in the page cache) is not
    // the cost of one look.
    work();
    let before = memory("VmRSS:");
    let peak_is_reset = fs::write("/proc/self/clear_refs", "5").is_ok();
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        work();
        least = least.min(start.elapsed().as_secs_f64() * 1e3);
    }
    let rise = match (before, memory("VmHWM:")) {
        (Some(before), Some(peak)) if peak_is_reset => {
            format!("{:.1} MB", peak.saturating_sub(before) as f64 / 1e3)
        }
        _ => "unknown".to_owned(),
    };
    println!("{name:<32} {least:>8.1} ms   memory up by {rise}");
}

fn main() {
    set_period(1);
    let kept: Vec<_> = (0..STACKS).map(|path| left(path, BITS)).collect();
    set_period(512 << 10);
    println!("{} records", records(IncludeFreed::No).len());

    measure("snapshot", || {
        everprof::heap::for_each(|record| {
            black_box(record.in_use_bytes());
        })
    });
    for symbolize in ["none", "names"] {
        let request = Request::get(format!("/debug/pprof/heap?symbolize={symbolize}"));
        measure(&format!("pprof, symbolize={symbolize}"), || {
            assert_eq!(black_box(handle(&request)).status, 200);
        });
    }
    measure("profile::lookup", || {
        black_box(profile::lookup("heap"));
    });
    drop(kept);
}
