//! What a profile says exactly, at any time: threads that stay, threads created, a collector's
//! heap, things held.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, Builder, Scope};
use std::time::Duration;

use everprof::Custom;
use everprof::custom::Guard;
use everprof::heap::Managed;
use everprof::profile::lookup;

use crate::figures::{of_sites, read, sums};
use crate::is_over;
use crate::truth::BORN;

/// How often each claim was looked at.
static LOOKS: [(&str, AtomicU64); 3] = [
    ("threads", AtomicU64::new(0)),
    ("managed", AtomicU64::new(0)),
    ("custom", AtomicU64::new(0)),
];

fn looked(name: &str) {
    let look = LOOKS.iter().find(|(known, _)| *known == name);
    look.expect("one of them").1.fetch_add(1, Ordering::Relaxed);
}

pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, is_on: &dyn Fn(&str) -> bool) {
    if is_on("threads") {
        scope.spawn(dump_those_who_stay);
    }
    if is_on("managed") {
        scope.spawn(collect_garbage);
    }
    if is_on("custom") {
        scope.spawn(hold_leases);
    }
}

/// After the load has ended.
pub fn print(is_on: &dyn Fn(&str) -> bool) {
    for (name, looks) in &LOOKS {
        if is_on(name) {
            let looks = looks.load(Ordering::Relaxed);
            assert!(looks > 0, "{name}");
            println!("held {name}.exact {looks}");
        }
    }
    if is_on("threadcreate") {
        let profile = read(&lookup("threadcreate").expect("it is served"));
        let created = of_sites(&profile, 0, ["bears_one", "bears_other"]);
        assert_eq!(created, BORN.now(), "threads created");
        println!("held threadcreate.exact {}", created[0] + created[1]);
        let live = of_sites(&profile, 1, ["bears_one", "bears_other"]);
        assert_eq!(live, [0.0; 2], "all have ended");
    }
}

const STAYING: [(&str, usize); 2] = [("stays-one", 5), ("stays-other", 15)];

#[inline(never)]
fn stays_here(until: &std::sync::mpsc::Receiver<()>) {
    assert!(until.recv().is_err(), "nothing is sent");
    black_box(());
}

/// Each dump has each of them once, in the function that it waits in.
fn dump_those_who_stay() {
    let mut lets_go = Vec::new();
    let mut staying = Vec::new();
    for (name, count) in STAYING {
        for _ in 0..count {
            let (let_go, until) = channel();
            lets_go.push(let_go);
            let thread = Builder::new().name(name.to_owned()).stack_size(64 << 10);
            staying.push(thread.spawn(move || stays_here(&until)).expect("a thread"));
        }
    }
    // Until they wait, they are elsewhere.
    thread::sleep(Duration::from_millis(500));
    while !is_over() {
        let profile = read(&lookup("threads").expect("it is served"));
        let named =
            |name| {
                sums(&profile, 0, |sample| {
                    (sample.string_label("thread") == Some(name)).then(|| {
                        let mut lines = sample.stack().flat_map(|at| profile.location(at).lines);
                        usize::from(!lines.any(|line| {
                            profile.function(line.function).name.ends_with("stays_here")
                        }))
                    })
                })
            };
        for (name, count) in STAYING {
            assert_eq!(named(name), [count as f64, 0.0], "{name}");
        }
        looked("threads");
    }
    drop(lets_go);
    for thread in staying {
        thread.join().expect("no panic");
    }
}

/// Objects of a heap that nobody else knows: an address, and how large.
type Objects = VecDeque<(usize, usize)>;

/// A collector that frees the older half, bit by bit. What is shown is the heap as it was
/// when it was marked.
fn collect_garbage() {
    let heap = Managed::new("soaked").expect("no other has the name");
    heap.set_period(1);
    let (mut objects, mut next) = (Objects::new(), 64);
    let mut alloc = |objects: &mut Objects, size: usize| {
        next += 64;
        heap.record_alloc(next, size, Some("Soaked"));
        objects.push_back((next, size));
    };
    while !is_over() {
        for turn in 0..200 {
            alloc(&mut objects, 24 + turn % 3 * 8);
        }
        if let Some((address, _)) = objects.pop_back() {
            heap.record_free(address);
        }
        let garbage: Objects = objects.drain(..objects.len() / 2).collect();
        let marked: (u64, u64) = census(&objects);
        assert!(heap.next_cycle(), "it was flushed");
        heap.flush();
        for (address, _) in garbage {
            heap.record_sweep_free(address);
            alloc(&mut objects, 40);
        }
        heap.post_sweep();
        let mut shown = (0, 0);
        heap.for_each(|record| {
            shown.0 += record.in_use_objects();
            shown.1 += record.in_use_bytes();
        });
        assert_eq!(shown, marked, "the heap when it was marked");
        looked("managed");
        thread::sleep(Duration::from_millis(2));
    }
}

fn census(objects: &Objects) -> (u64, u64) {
    let bytes = objects.iter().map(|(_, size)| *size as u64).sum();
    (objects.len() as u64, bytes)
}

static LEASES: Custom = Custom::new("leases").with_value("lease", "bytes");

#[inline(never)]
fn leases_one() -> Guard {
    black_box(LEASES.add(10))
}

#[inline(never)]
fn leases_other() -> Guard {
    black_box(LEASES.add(1000))
}

/// Taken by one, given back by another.
fn hold_leases() {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let mut turn = 0;
    while !is_over() {
        turn += 1;
        one.extend((0..turn % 7).map(|_| leases_one()));
        other.extend((0..turn % 3).map(|_| leases_other()));
        if turn % 50 == 0 {
            let back = (
                one.split_off(one.len() / 2),
                other.split_off(other.len() / 2),
            );
            thread::spawn(|| drop(back)).join().expect("no panic");
        }
        if turn % 10 == 0 {
            let profile = read(&lookup("leases").expect("it is served"));
            let held = |value| of_sites(&profile, value, ["leases_one", "leases_other"]);
            let counts = [one.len() as f64, other.len() as f64];
            assert_eq!(held(0), counts, "leases held");
            assert_eq!(
                held(1),
                [counts[0] * 10.0, counts[1] * 1000.0],
                "their bytes"
            );
            looked("custom");
        }
        thread::sleep(Duration::from_millis(5));
    }
}
