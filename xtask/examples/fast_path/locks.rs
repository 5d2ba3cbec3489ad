// What both programs of `cargo xtask fast-path` that lock do, included into each. Not in one
// with what allocates: a program's size decides how it is cut up for the compiler, and
// with it what a call to a cold function costs.

use std::hint::black_box;
use std::sync::{Mutex, RwLock};

/// Does what the first argument names, as often as the second says.
fn run() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, case, pairs] = arguments.as_slice() else {
        panic!("expected a case and a number of pairs");
    };
    let pairs: u64 = pairs.parse().expect("a number of pairs");
    let case: fn() = match case.as_str() {
        "mutex" => mutex,
        "rwlock" => rwlock,
        "parking_lot" => parking_lot,
        _ => panic!("no case is called `{case}`"),
    };
    // Through a pointer, so that the loop is the same code in both programs.
    let case = black_box(case);
    for _ in 0..pairs {
        case();
    }
}

#[inline(never)]
fn mutex() {
    static MUTEX: Mutex<u64> = Mutex::new(0);
    *MUTEX.lock().expect("no panic") += 1;
}

#[inline(never)]
fn rwlock() {
    static LOCK: RwLock<u64> = RwLock::new(0);
    black_box(*LOCK.read().expect("no panic"));
    *LOCK.write().expect("no panic") += 1;
}

#[inline(never)]
fn parking_lot() {
    static MUTEX: parking_lot::Mutex<u64> = parking_lot::Mutex::new(0);
    *MUTEX.lock() += 1;
}
