//! Threads that wait for one another: the same in every peer's binary.
//!
//! `PEER WORKLOAD [SCALE]` runs one and prints the line of `workloads`. Eight
//! threads, on however few processors there are; each round is one step within the
//! lock and four outside of it.
//!
//! | name | what the threads contend for |
//! |---|---|
//! | `mutex` | std's `Mutex` |
//! | `rwlock` | std's `RwLock`, one write in four |
//! | `mpsc` | std's `mpsc`, seven send, one receives |
//! | `crossbeam` | crossbeam's bounded channel of 16, four send, four receive |
//! | `parking_lot` | parking_lot's `Mutex` |
//! | `parking_lot_rwlock` | parking_lot's `RwLock`, one write in four |
//!
//! `bench/go/locks.go` does the first four in Go; a peer that wraps locks does those of its own
//! (`peers/locks-hotpath`).

use std::hint::black_box;
use std::sync::mpsc::channel;
use std::sync::{Mutex, RwLock};
use std::thread::scope;

const THREADS: usize = 8;

/// What the command line asks for: a workload's name, and how many rounds.
///
/// # Panics
/// Where it names none.
pub fn asked() -> (String, usize) {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().expect("usage: PEER WORKLOAD [SCALE]");
    let scale: f64 = arguments
        .next()
        .map_or(1.0, |text| text.parse().expect("SCALE is a number"));
    (name, (250_000.0 * scale) as usize)
}

/// Runs the workload that the command line names.
///
/// # Panics
/// Where the command line names none.
pub fn main() {
    let (name, rounds) = asked();
    workloads::timed(|| match name.as_str() {
        "mutex" => {
            let lock = Mutex::new(0_u64);
            on_all(rounds, |_| {
                let mut held = lock.lock().expect("nobody panics");
                step(&mut held);
            });
        }
        "parking_lot" => {
            let lock = parking_lot::Mutex::new(0_u64);
            on_all(rounds, |_| step(&mut lock.lock()));
        }
        "rwlock" => {
            let lock = RwLock::new(0_u64);
            on_all(rounds, |round| {
                if round % 4 == 0 {
                    step(&mut lock.write().expect("nobody panics"));
                } else {
                    step(&mut { *lock.read().expect("nobody panics") });
                }
            });
        }
        "parking_lot_rwlock" => {
            let lock = parking_lot::RwLock::new(0_u64);
            on_all(rounds, |round| {
                if round % 4 == 0 {
                    step(&mut lock.write());
                } else {
                    step(&mut { *lock.read() });
                }
            });
        }
        "mpsc" => {
            let (sender, receiver) = channel();
            scope(|scope| {
                for _ in 1..THREADS {
                    let sender = sender.clone();
                    scope.spawn(move || {
                        for round in 0..rounds {
                            outside();
                            sender.send(round).expect("it is received");
                        }
                    });
                }
                drop(sender);
                receiver.iter().for_each(|round| {
                    black_box(round);
                });
            });
        }
        "crossbeam" => {
            let (sender, receiver) = crossbeam_channel::bounded(16);
            scope(|scope| {
                for _ in 0..THREADS / 2 {
                    let (sender, receiver) = (sender.clone(), receiver.clone());
                    scope.spawn(move || {
                        for round in 0..rounds {
                            outside();
                            sender.send(round).expect("it is received");
                        }
                    });
                    scope.spawn(move || {
                        receiver.iter().for_each(|round| {
                            black_box(round);
                        });
                    });
                }
                drop((sender, receiver));
            });
        }
        _ => {
            panic!("{name}: not one of mutex rwlock mpsc crossbeam parking_lot parking_lot_rwlock")
        }
    });
}

/// Works for so many rounds on each of the threads.
pub fn on_all(rounds: usize, work: impl Fn(usize) + Sync) {
    scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..rounds {
                    work(round);
                    outside();
                }
            });
        }
    });
}

/// Some 20 ns of work with what the lock protects.
#[inline(never)]
pub fn step(held: &mut u64) {
    for _ in 0..16 {
        *held = black_box(*held).wrapping_mul(6_364_136_223_846_793_005) + 1;
    }
}

fn outside() {
    let mut own = 0;
    for _ in 0..4 {
        step(&mut own);
    }
}
