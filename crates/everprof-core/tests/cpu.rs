//! CPU profiles of work whose shares are known.
//!
//! Shares are compared with the CPU time that the work itself has measured, in standard
//! deviations of the samples' number; where chance has a part the odds of a false alarm
//! are stated. Sessions are one at a time, and so are these tests.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(everprof_loom)
))]
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use everprof_core::cpu::{COVER_EVERY, Session, Snapshot};
use everprof_core::lost::Lost;
use everprof_core::{global, modules};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    modules::refresh();
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a profile while `work` runs on threads of its own.
fn profile(hz: u32, work: impl FnOnce() + Send) -> Snapshot {
    let mut session = global::start_cpu(hz).unwrap();
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            global::cpu().thread_began();
            work();
        });
        while !working.is_finished() {
            cover(&mut session);
        }
    });
    session.stop()
}

fn cover(session: &mut Session<'_>) {
    thread::sleep(COVER_EVERY);
    session.cover();
}

fn thread_nanos() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn process_nanos() -> u64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Two functions that do nothing but take time, and know how much of it they took.
macro_rules! burners {
    ($($name:ident, $taken:ident);+) => { $(
        static $taken: AtomicU64 = AtomicU64::new(0);

        #[inline(never)]
        fn $name(nanos: u64) {
            let began = thread_nanos();
            let mut now = began;
            while now - began < nanos {
                for n in 0..500_u64 {
                    black_box(n.wrapping_mul(3));
                }
                now = thread_nanos();
            }
            $taken.fetch_add(now - began, Ordering::Relaxed);
        }
    )+ };
}
burners!(burn_one, ONE; burn_other, OTHER);

/// Where a function begins and ends, by its entry in the unwind tables.
fn range(function: fn(u64)) -> std::ops::Range<u64> {
    let start = function as *const () as u64;
    // Generous: each is followed by padding and by what no stack here comes through.
    start..start + 400
}

#[derive(Debug, Default)]
struct Seen {
    one: u64,
    other: u64,
    unseen: u64,
    all: u64,
}

/// Samples with a frame of either function.
fn seen(snapshot: &Snapshot) -> Seen {
    assert!(!snapshot.torn);
    let (one, other) = (range(burn_one), range(burn_other));
    let mut seen = Seen::default();
    snapshot.for_each(|bucket| {
        assert_eq!(bucket.nanos, bucket.samples * snapshot.period_nanos);
        seen.all += bucket.samples;
        let has =
            |range: &std::ops::Range<u64>| bucket.stack.iter().any(|pc| range.contains(&(pc - 1)));
        if has(&one) {
            seen.one += bucket.samples;
        } else if has(&other) {
            seen.other += bucket.samples;
        } else if bucket.stack == [Lost::CpuUnseen.pc()] {
            seen.unseen += bucket.samples;
        }
    });
    seen
}

fn taken() -> (u64, u64) {
    (
        ONE.swap(0, Ordering::Relaxed),
        OTHER.swap(0, Ordering::Relaxed),
    )
}

const MILLI: u64 = 1_000_000;

#[test]
fn smoke() {
    let _alone = alone();
    for hz in [100, 1000] {
        taken();
        let before = process_nanos();
        let snapshot = profile(hz, || {
            for _ in 0..100 {
                burn_one(3 * MILLI);
                burn_other(7 * MILLI);
            }
        });
        let all = process_nanos() - before;
        println!("{hz}: {:?} {:?} process {all}", seen(&snapshot), taken());
    }
}
