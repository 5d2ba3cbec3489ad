//! How much of the waiting for a lock the block profile has seen.
//!
//! Threads take turns within the lock and outside of it, each as long as the other on
//! average. The truth is a clock around each `lock` whose `try_lock` found it taken; seen is the
//! delay of the samples that say `mutex`.

use std::thread;
use std::time::{Duration, Instant};

use crate::lock::Lock;
use crate::taken;

pub fn print<L: Lock>(threads: u32, section: Duration, time: Duration) {
    let lock = L::default();
    let end = Instant::now() + time;
    let truth: Duration = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|seed| {
                scope.spawn({
                    let lock = &lock;
                    move || contend(lock, section, end, seed)
                })
            })
            .collect();
        let waited = threads.into_iter().map(|thread| thread.join());
        waited.map(|waited| waited.expect("nobody panics")).sum()
    });
    let profile = taken("block");
    let mutex =
        |sample: &everprof_profile::Sample<'_>| sample.string_label("wait") == Some("mutex");
    let seen: i64 = profile
        .samples()
        .filter(mutex)
        .map(|sample| sample.values()[1])
        .sum();
    println!("{} {seen}", truth.as_nanos());
}

/// How long it has waited.
fn contend<L: Lock>(lock: &L, section: Duration, end: Instant, seed: u32) -> Duration {
    let mut waited = Duration::ZERO;
    let mut random = seed;
    while Instant::now() < end {
        let (held, wait) = lock.lock_timed();
        work(section);
        drop(held);
        if let Some([begin, end]) = wait {
            waited += end - begin;
        }
        // A half to one and a half, so that the threads do not fall into step.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        work(section.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX)));
    }
    waited
}

fn work(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}
