//! What of everprof's memory a process has touched: this binary starts itself, as a
//! program with one thread that counts the pages of its own memory.
//!
//! No test harness: its threads are recorded, and allocate before `main`. The numbers are
//! of pages, not of time: where the addresses fall moves each by two or three.

#![cfg_attr(
    not(all(target_os = "linux", target_pointer_width = "64")),
    allow(dead_code, unused_imports)
)]
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

/// Stands among the statics that begin as zero, as everprof's do.
static ZERO: AtomicU64 = AtomicU64::new(0);

/// The size of the arena: no other mapping of this process is that large.
const ARENA_BYTES: u64 = 64 << 20;

fn main() {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    match std::env::var("EVERPROF_TEST_ROLE").as_deref() {
        Ok("count") => count(),
        Ok(role) => panic!("no role {role}"),
        Err(_) => run_tests(),
    }
}

fn run_tests() {
    if page_bytes() != Some(4096) {
        println!("pages of another size: nothing is claimed of them");
        return;
    }
    if cfg!(any(
        everprof_sanitizer = "address",
        everprof_sanitizer = "thread"
    )) {
        println!("a sanitizer maps its own memory beside ours: nothing is claimed of that");
        return;
    }
    let report = count_in_child();
    nothing_is_made_where_nothing_is_recorded(&report);
    one_sample_touches_few_pages(&report);
    hundred_samples_touch_few_more(&report);
}

fn nothing_is_made_where_nothing_is_recorded(report: &[Pages]) {
    assert_eq!(report[0].arena, 0, "{report:?}");
    println!("test nothing_is_made_where_nothing_is_recorded ... ok");
}

fn one_sample_touches_few_pages(report: &[Pages]) {
    // Measured: 7 and 9, without optimisation.
    let statics = report[1].statics - report[0].statics;
    assert!((1..=10).contains(&report[1].arena), "{report:?}");
    assert!((1..=14).contains(&statics), "{report:?}");
    println!("test one_sample_touches_few_pages ... ok");
}

fn hundred_samples_touch_few_more(report: &[Pages]) {
    // The second segment for objects in use has 12 pages, the filter 16.
    let (before, after) = (report[1], report[2]);
    assert!(after.arena - before.arena <= 16, "{report:?}");
    assert!(after.statics - before.statics <= 20, "{report:?}");
    println!("test hundred_samples_touch_few_more ... ok");
}

/// Pages in memory of the arena, and of the statics that begin as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pages {
    arena: u64,
    statics: u64,
}

/// Before anything is recorded, after one sample, and after a hundred more.
fn count_in_child() -> Vec<Pages> {
    let output = Command::new(std::env::current_exe().unwrap())
        .env("EVERPROF_TEST_ROLE", "count")
        .env_remove("EVERPROF")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let number = |word: Option<&str>| word.unwrap().parse().unwrap();
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            Pages {
                arena: number(words.next()),
                statics: number(words.next()),
            }
        })
        .collect()
}

fn count() {
    everprof::heap::set_period(0);
    let none = pages();
    everprof::heap::set_period(1);
    let first = black_box(Box::new([1_u8; 100]));
    everprof::heap::set_period(0);
    let one = pages();
    everprof::heap::set_period(1);
    let more: [Box<[u8; 200]>; 100] = std::array::from_fn(|_| black_box(Box::new([1; 200])));
    everprof::heap::set_period(0);
    let hundred = pages();
    drop((first, more));
    for pages in [none, one, hundred] {
        println!("{} {}", pages.arena, pages.statics);
    }
}

/// As the kernel counts them. Allocates nothing.
fn pages() -> Pages {
    ZERO.store(1, Ordering::Relaxed);
    let statics = std::ptr::from_ref(&ZERO).addr() as u64;
    let mut text = [0; 128 << 10];
    let text = read("/proc/self/smaps", &mut text);
    let mut pages = Pages {
        arena: 0,
        statics: 0,
    };
    let (mut start, mut end, mut is_of_statics) = (0, 0, false);
    for line in text.lines() {
        if let Some(range) = range_of(line) {
            // The first of them share a page with the file's last; the others follow.
            let follows = is_of_statics && range.0 == end && !line.contains('[');
            (start, end) = range;
            is_of_statics = follows || (start..end).contains(&statics);
        }
        let Some(kib) = line.strip_prefix("Rss:") else {
            continue;
        };
        let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap();
        if end - start == ARENA_BYTES {
            pages.arena = kib / 4;
        }
        if is_of_statics {
            pages.statics += kib / 4;
        }
    }
    pages
}

/// The addresses that a mapping's first line begins with.
fn range_of(line: &str) -> Option<(u64, u64)> {
    let (start, rest) = line.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}

/// How large pages are.
fn page_bytes() -> Option<u64> {
    let mut text = [0; 128 << 10];
    let text = read("/proc/self/smaps", &mut text);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("KernelPageSize:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib << 10)
}

fn read<'t>(path: &str, text: &'t mut [u8]) -> &'t str {
    let mut file = File::open(path).unwrap();
    let mut length = 0;
    loop {
        match file.read(&mut text[length..]).unwrap() {
            0 => break,
            more => length += more,
        }
    }
    std::str::from_utf8(&text[..length]).unwrap()
}
