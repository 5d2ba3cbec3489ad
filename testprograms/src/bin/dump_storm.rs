//! Dumps in a loop while many threads sleep on 64 KiB stacks, and others are born, panic,
//! unwind slowly and die. `dump_storm THREADS SECONDS`; without these, what a test has time
//! for.

use std::collections::HashMap;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use everprof::threads::{ThreadRecord, records};

/// Sleeps while it is unwound.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        thread::sleep(Duration::from_micros(500));
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mut number = |otherwise: u64| {
        let word = words.next().map(|word| word.parse().expect("a number"));
        word.unwrap_or(otherwise)
    };
    let (wanted, seconds) = (number(200), number(2));
    let stop = AtomicBool::new(false);
    let (open, bell) = (Mutex::new(false), Condvar::new());
    let (stay, lived) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let stays = || {
            stay.fetch_add(1, Ordering::Relaxed);
            let mut open = open.lock().expect("nobody panics with it");
            while !*open {
                open = bell.wait(open).expect("nobody panics with it");
            }
        };
        let lives = || {
            while !stop.load(Ordering::Relaxed) {
                let dies = thread::spawn(|| {
                    // Without the hook, which would write a line for each.
                    let unwound = catch_unwind(|| {
                        let _slow = Slow;
                        resume_unwind(Box::new(()));
                    });
                    assert!(unwound.is_err());
                    std::hint::black_box(vec![1_u8; 1000]);
                });
                dies.join().expect("it catches its panic");
                lived.fetch_add(1, Ordering::Relaxed);
            }
        };
        let start = |name: &str| Builder::new().name(name.into()).stack_size(64 << 10);
        let had = (0..wanted)
            .take_while(|_| start("stays").spawn_scoped(scope, stays).is_ok())
            .count();
        for _ in 0..4 {
            start("lives")
                .spawn_scoped(scope, lives)
                .expect("a thread more");
        }
        // A thread names itself when it begins.
        while stay.load(Ordering::Relaxed) < had as u64 {
            thread::yield_now();
        }
        let (begun, mut dumps, mut reasons) = (Instant::now(), 0, HashMap::new());
        while dumps == 0 || begun.elapsed() < Duration::from_secs(seconds) {
            let all = records().expect("a dump");
            let stay = all.iter().filter(|thread| thread.name == "stays").count();
            assert_eq!(stay, had, "one that stays is missing");
            for thread in all.iter().filter(|thread| has_no_stack(thread)) {
                assert!(!thread.state.is_empty(), "unexplained: {thread:?}");
                *reasons.entry(thread.state.clone()).or_insert(0_u64) += 1;
            }
            dumps += 1;
        }
        let each_millis = begun.elapsed().as_millis() / dumps;
        let lived = lived.load(Ordering::Relaxed);
        eprintln!(
            "{had} threads, {lived} more lived and died, {dumps} dumps of {each_millis} ms; \
             without a stack: {reasons:?}"
        );
        stop.store(true, Ordering::Relaxed);
        *open.lock().expect("nobody panics with it") = true;
        bell.notify_all();
    });
    testprograms::ok();
}

fn has_no_stack(thread: &ThreadRecord) -> bool {
    thread.stack.first().is_none_or(|&leaf| leaf < 64)
}
