//! A thousand healthy programs, looked at all the while: none is called deadlocked.
//!
//! Each has some threads that take some locks, always in one order, hold them, sometimes for
//! long and asleep, wait for conditions and messages, and end. All of them run to
//! their ends, so that whatever would be reported is a false alarm. Seeds are fixed;
//! what the scheduler makes of them is not, and must not matter.
#![cfg(all(
    target_os = "linux",
    feature = "interpose",
    not(target_feature = "crt-static")
))]
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use everprof::block::deadlocks_since;

/// Numbers from a seed (Knuth's MMIX generator).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit) as usize
    }

    /// What a thread does that has something, or nothing: mostly a moment's work, at times
    /// a sleep.
    fn pass_time(&mut self) {
        match self.below(8) {
            0 => thread::sleep(Duration::from_micros(200 + self.below(2000) as u64)),
            1 => thread::yield_now(),
            2 => {
                let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                let time = Duration::from_micros(100 + self.below(1000) as u64);
                listener.set_read_timeout(Some(time)).unwrap();
                let _timed_out = listener.recv(&mut [0]);
            }
            n => {
                for _ in 0..n * 500 {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

/// What the threads of a program share.
struct Shared {
    mutexes: Vec<Mutex<u64>>,
    rwlocks: Vec<RwLock<u64>>,
    turn: Mutex<usize>,
    changed: Condvar,
}

fn program(seed: u64) {
    let mut random = Random(seed);
    let shared = Arc::new(Shared {
        mutexes: (0..=random.below(4)).map(|_| Mutex::new(0)).collect(),
        rwlocks: (0..=random.below(3)).map(|_| RwLock::new(0)).collect(),
        turn: Mutex::new(0),
        changed: Condvar::new(),
    });
    let (tell, told) = channel();
    let threads: Vec<_> = (0..2 + random.below(4))
        .map(|n| {
            let (shared, tell) = (shared.clone(), tell.clone());
            let random = Random(seed ^ (n as u64 + 1) << 40);
            thread::spawn(move || work(&shared, random, || tell.send(n).unwrap()))
        })
        .collect();
    drop(tell);
    assert_eq!(told.iter().count(), threads.len());
    for thread in threads {
        thread.join().unwrap();
    }
}

fn work(shared: &Shared, mut random: Random, done: impl FnOnce()) {
    for _ in 0..3 {
        match random.below(4) {
            // Guards on the stack, in the order of the locks.
            0 => {
                let from = random.below(shared.mutexes.len() as u64);
                let first = shared.mutexes[from].lock().unwrap();
                random.pass_time();
                let second = shared
                    .mutexes
                    .get(from + 1)
                    .map(|lock| lock.lock().unwrap());
                random.pass_time();
                drop((first, second));
            }
            // All of them, and the guards in a vector.
            1 => {
                let mut guards: Vec<_> = shared.mutexes.iter().map(|m| m.lock().unwrap()).collect();
                random.pass_time();
                guards.iter_mut().for_each(|guard| **guard += 1);
                let write = shared.rwlocks[0].write().unwrap();
                random.pass_time();
                drop(write);
            }
            2 => {
                let reads: Vec<_> = shared
                    .rwlocks
                    .iter()
                    .map(|l| Box::new(l.read().unwrap()))
                    .collect();
                random.pass_time();
                drop(reads);
            }
            // A condition that another thread, or else this one later, brings about.
            _ => {
                let mut turn = shared.turn.lock().unwrap();
                let was = *turn;
                if random.below(2) == 0 {
                    *turn += 1;
                    shared.changed.notify_all();
                } else {
                    let time = Duration::from_micros(500);
                    drop(
                        shared
                            .changed
                            .wait_timeout_while(turn, time, |now| *now == was),
                    );
                }
                random.pass_time();
            }
        }
    }
    done();
}

#[test]
fn a_thousand_healthy_programs_are_never_called_deadlocked() {
    let is_over = Arc::new(AtomicBool::new(false));
    let looks = Arc::new(AtomicUsize::new(0));
    let (over, looked) = (is_over.clone(), looks.clone());
    let watchdog = thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let found = deadlocks_since(Duration::ZERO);
            assert!(found.is_empty(), "{}", found[0]);
            looked.fetch_add(1, Ordering::Relaxed);
        }
    });
    for seed in 0..1000 {
        program(seed);
    }
    is_over.store(true, Ordering::Relaxed);
    watchdog.join().unwrap();
    // It is about something.
    assert!(looks.load(Ordering::Relaxed) > 100, "{looks:?}");
}
