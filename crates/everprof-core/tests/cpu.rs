//! CPU profiles of work whose shares are known.
//!
//! The truth is what the work itself has read from its thread's clock. Shares and totals
//! are compared at 4σ, where a false alarm has odds of 1 in 16,000 each time: a share's σ
//! is the binomial's, a total's is derived in `cpu/weight.rs`. What a busy machine takes
//! off (see there) is in the total as unseen, so that the total is compared with it; that
//! each thread is seen as much as it ran is tested in `weight.rs`, on a model. Sessions are
//! one at a time, and so are these tests.

#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(everprof_loom)
))]
#![allow(clippy::unwrap_used)]

use std::ffi::c_void;
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use everprof_core::cpu::{COVER_EVERY, Session, Snapshot, StartError};
use everprof_core::lost::Lost;
use everprof_core::own_threads::OwnThread;
use everprof_core::{global, modules};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    modules::refresh();
    ONE.store(0, Ordering::Relaxed);
    OTHER.store(0, Ordering::Relaxed);
    guard
}

/// What the process ran while the last profile was taken, without the thread that took it: that
/// is everprof's, and in no sample.
static PROCESS: AtomicU64 = AtomicU64::new(0);

/// Takes a profile while `work` runs on a thread of its own.
fn profile(hz: u32, work: impl FnOnce() + Send) -> Snapshot {
    let _own = OwnThread::register();
    let mut session = global::start_cpu(hz).unwrap();
    let ran = || clock(libc::CLOCK_PROCESS_CPUTIME_ID) - clock(libc::CLOCK_THREAD_CPUTIME_ID);
    let before = ran();
    thread::scope(|scope| {
        let working = scope.spawn(work);
        while !working.is_finished() {
            cover(&mut session);
        }
    });
    PROCESS.store(ran() - before, Ordering::Relaxed);
    session.stop()
}

fn cover(session: &mut Session<'_>) {
    thread::sleep(COVER_EVERY);
    session.cover();
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

fn tick_nanos() -> u64 {
    let mut tick = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `tick` is ours to write.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
    tick.tv_nsec as u64
}

const MILLI: u64 = 1_000_000;

/// Functions that take CPU time, and know how much of it they took.
macro_rules! burners {
    ($($name:ident, $taken:ident);+) => { $(
        static $taken: AtomicU64 = AtomicU64::new(0);

        #[inline(never)]
        fn $name(nanos: u64) {
            let began = clock(libc::CLOCK_THREAD_CPUTIME_ID);
            let mut now = began;
            while now - began < nanos {
                for n in 0..500_u64 {
                    black_box(n.wrapping_mul(3));
                }
                now = clock(libc::CLOCK_THREAD_CPUTIME_ID);
            }
            $taken.fetch_add(now - began, Ordering::Relaxed);
        }
    )+ };
}
burners!(burn_one, ONE; burn_other, OTHER);

unsafe extern "C" {
    fn _Unwind_FindEnclosingFunction(pc: *mut c_void) -> *mut c_void;
}

/// Whether an entry of a stack lies in a function.
fn is_in(entry: u64, function: fn(u64)) -> bool {
    // SAFETY: looks the address up and reads nothing there.
    let start = unsafe { _Unwind_FindEnclosingFunction((entry - 1) as *mut c_void) };
    start.addr() == (function as *const ()).addr()
}

/// Samples by what they stand for.
#[derive(Debug, Default)]
struct Seen {
    one: u64,
    other: u64,
    unseen: u64,
    all: u64,
}

fn seen(snapshot: &Snapshot) -> Seen {
    assert!(!snapshot.torn);
    let mut seen = Seen::default();
    snapshot.for_each(|bucket| {
        assert_eq!(bucket.nanos, bucket.samples * snapshot.period_nanos);
        seen.all += bucket.samples;
        let has = |function| {
            bucket
                .stack
                .iter()
                .any(|entry| *entry > 64 && is_in(*entry, function))
        };
        if has(burn_one) {
            seen.one += bucket.samples;
        } else if has(burn_other) {
            seen.other += bucket.samples;
        } else if bucket.stack == [Lost::CpuUnseen.pc()] {
            seen.unseen += bucket.samples;
        }
    });
    seen
}

/// All samples, unseen ones with them, for all that the process took.
#[track_caller]
fn assert_process(seen: &Seen, nanos: u64, threads: u64, period: u64) {
    let step = tick_nanos().max(period) as f64;
    let off = (seen.all * period) as f64 - nanos as f64;
    let sigma = (threads as f64 * step * step * 2.0 / 3.0).sqrt();
    assert!(
        off.abs() <= 4.0 * sigma,
        "{seen:?} for {nanos} ns, σ {sigma}"
    );
}

/// `part` of `all` for a true share of `part_nanos` in `all_nanos`, whose samples come
/// `weight` at a time.
#[track_caller]
fn assert_share(part: u64, all: u64, part_nanos: u64, all_nanos: u64, weight: u64) {
    let share = part_nanos as f64 / all_nanos as f64;
    let sigma = (all as f64 * share * (1.0 - share) * weight as f64).sqrt();
    let off = part as f64 - all as f64 * share;
    assert!(
        off.abs() <= 4.0 * sigma,
        "{part} of {all}, where the truth is {share:.4}, σ {sigma:.1}"
    );
}

/// Samples that come at one time, at most.
fn weight(period: u64) -> u64 {
    tick_nanos().div_ceil(period)
}

/// Work in pieces whose length has nothing to do with the kernel's ticks.
fn mix(one_micros: u64, other_micros: u64, rounds: u64) {
    for _ in 0..rounds {
        burn_one(one_micros * 1000);
        burn_other(other_micros * 1000);
    }
}

#[test]
fn thirty_and_seventy_are_told_apart() {
    let _alone = alone();
    for hz in [100, 250, 1000] {
        ONE.store(0, Ordering::Relaxed);
        OTHER.store(0, Ordering::Relaxed);
        let snapshot = profile(hz, || mix(3_170, 7_397, 120));
        let seen = seen(&snapshot);
        let (one, other) = (ONE.load(Ordering::Relaxed), OTHER.load(Ordering::Relaxed));
        let period = snapshot.period_nanos;
        assert_share(
            seen.one,
            seen.one + seen.other,
            one,
            one + other,
            weight(period),
        );
        assert_process(&seen, one + other, 2, period);
    }
}

#[test]
fn one_in_a_hundred_is_seen_as_that() {
    let _alone = alone();
    // Where the kernel ticks each 4 ms that is 17 samples of the one, and none in one run of 20
    // million.
    let snapshot = profile(1000, || mix(113, 11_187, 600));
    let seen = seen(&snapshot);
    let (one, other) = (ONE.load(Ordering::Relaxed), OTHER.load(Ordering::Relaxed));
    let weight = weight(snapshot.period_nanos);
    assert_share(seen.one, seen.one + seen.other, one, one + other, weight);
    assert!(seen.one > 0);
}

// What ThreadSanitizer does at a thread's beginning and end is the process's time, and no sample's:
// more than the bound in one run of two.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn many_threads_get_their_shares_and_the_total_is_the_process_s() {
    let _alone = alone();
    let snapshot = profile(100, || {
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    global::cpu().thread_began();
                    mix(2_100, 900, 60);
                });
            }
        });
    });
    let process = PROCESS.load(Ordering::Relaxed);
    let seen = seen(&snapshot);
    let (one, other) = (ONE.load(Ordering::Relaxed), OTHER.load(Ordering::Relaxed));
    assert_share(seen.one, seen.one + seen.other, one, one + other, 1);
    assert_process(&seen, process, 23, snapshot.period_nanos);
}

/// Born, run for 1 to 5 ms, ended: as the hook in front of `pthread_create` has it, each
/// tells of itself.
#[test]
fn short_threads_that_tell_of_themselves_are_seen_as_much_as_they_ran() {
    let _alone = alone();
    const THREADS: u64 = 600;
    let snapshot = profile(100, || {
        for n in 0..THREADS {
            let born = thread::spawn(move || {
                global::cpu().thread_began();
                let micros = 1_000 + n * 1_597 % 4_000;
                burn_one(micros * 300);
                burn_other(micros * 700);
            });
            born.join().unwrap();
        }
    });
    let seen = seen(&snapshot);
    let (one, other) = (ONE.load(Ordering::Relaxed), OTHER.load(Ordering::Relaxed));
    assert_share(seen.one, seen.one + seen.other, one, one + other, 1);
    // How much of their time is seen depends on how ticks fall into it (head). None of
    // it comes twice, and a third at the least is there.
    let (samples, truth) = (seen.one + seen.other, (one + other) / snapshot.period_nanos);
    assert!(samples * 3 > truth, "{samples} of {truth}");
    let most = truth as f64 + 4.0 * (truth as f64).sqrt();
    assert!((samples as f64) < most, "{samples} of {truth}");
}

/// Those that nobody tells of, and that end before they are looked for, are missing:
/// and the profile says how much that is.
#[test]
fn time_of_threads_that_ended_unseen_is_counted_as_such() {
    let _alone = alone();
    let snapshot = profile(100, || {
        for _ in 0..600 {
            thread::spawn(|| burn_one(3 * MILLI)).join().unwrap();
        }
    });
    let process = PROCESS.load(Ordering::Relaxed);
    let seen = seen(&snapshot);
    // Where creations of threads are seen, each has its timer from its first moment.
    assert!(
        seen.unseen > 10 || everprof_core::spawn::CREATIONS_ARE_SEEN,
        "{seen:?}"
    );
    assert_process(&seen, process, 600, snapshot.period_nanos);
}

#[test]
fn thread_that_blocks_the_signal_is_counted_as_unseen() {
    let _alone = alone();
    let snapshot = profile(100, || {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: writes the whole set.
        unsafe { libc::sigfillset(set.as_mut_ptr()) };
        // SAFETY: a set that was written; the old one is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) };
        burn_one(700 * MILLI);
    });
    let seen = seen(&snapshot);
    assert_eq!(seen.one, 0);
    assert!((60..80).contains(&seen.unseen), "{seen:?}");
}

/// The kernel's own page of code, which is in no file, and system calls.
// ThreadSanitizer keeps a signal until its thread comes to a function or an atomic of its own, and
// hands it on there: this one comes to C's `clock_gettime`, in its code, which cannot be walked.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn time_in_the_kernels_code_is_charged_to_who_called_it() {
    #[inline(never)]
    fn ask(nanos: u64) {
        let until = clock(libc::CLOCK_THREAD_CPUTIME_ID) + nanos;
        while clock(libc::CLOCK_THREAD_CPUTIME_ID) < until {
            for _ in 0..200 {
                black_box(clock(libc::CLOCK_MONOTONIC));
            }
        }
    }
    let _alone = alone();
    let (mut through, mut all) = (0, 0);
    profile(100, || ask(500 * MILLI)).for_each(|bucket| {
        if bucket.stack != [Lost::CpuUnseen.pc()] {
            all += bucket.samples;
            let mut addresses = bucket.stack.iter().filter(|entry| **entry > 64);
            through += match addresses.any(|entry| is_in(*entry, ask)) {
                true => bucket.samples,
                false => 0,
            };
        }
    });
    assert!(all > 5 && through * 10 >= all * 9, "{through} of {all}");
}

/// Go's TestProfilerStackDepth: deep stacks end in the frame that says so.
#[test]
fn deep_stacks_end_in_the_frame_that_says_so() {
    #[inline(never)]
    fn recurse(depth: u32) -> u32 {
        let mut room = [depth; 4];
        if depth == 0 {
            burn_one(300 * MILLI);
        } else {
            room[1] = recurse(black_box(depth - 1));
        }
        black_box(&mut room)[1] + 1
    }
    let _alone = alone();
    let (mut deep, mut cut) = (0, 0);
    profile(100, || _ = recurse(200)).for_each(|bucket| {
        if bucket.stack.first().is_some_and(|leaf| *leaf > 64) && bucket.stack.len() >= 128 {
            deep += bucket.samples;
            cut += match bucket.stack.last() {
                Some(last) if *last == Lost::Truncated.pc() => bucket.samples,
                _ => 0,
            };
            assert_eq!(bucket.stack.len(), 128);
        }
    });
    assert!(deep > 5 && cut == deep, "{cut} of {deep}");
}

fn timers() -> usize {
    let timers = fs::read_to_string("/proc/self/timers").unwrap_or_default();
    timers
        .lines()
        .filter(|line| line.starts_with("ID:"))
        .count()
}

#[test]
fn there_are_timers_only_while_there_is_a_session() {
    let _alone = alone();
    let before = timers();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    burn_one(MILLI);
                }
            });
        }
        let mut session = global::start_cpu(1000).unwrap();
        cover(&mut session);
        assert!(timers() >= before + 6);
        // Those of threads that have ended are given back.
        for _ in 0..100 {
            thread::spawn(|| {
                global::cpu().thread_began();
                burn_other(MILLI / 10);
            })
            .join()
            .unwrap();
        }
        while timers() > before + 20 {
            cover(&mut session);
        }
        drop(session);
        assert_eq!(timers(), before);
        stop.store(true, Ordering::Relaxed);
    });
    global::cpu().thread_began();
    assert_eq!(timers(), before);
}

#[test]
fn there_is_one_session_at_a_time_and_the_next_begins_at_nothing() {
    let _alone = alone();
    for hz in [0, 1001] {
        assert_eq!(global::start_cpu(hz).unwrap_err(), StartError::Period);
    }
    let first = global::start_cpu(100).unwrap();
    let error = global::start_cpu(100).unwrap_err();
    assert_eq!(error, StartError::InUse);
    assert_eq!(error.to_string(), "cpu profiling already in use");
    burn_one(100 * MILLI);
    assert!(seen(&first.stop()).one > 0);
    let second = global::start_cpu(100).unwrap().stop();
    assert_eq!(seen(&second).one, 0);
}

/// Sessions begin and end while threads do, and run: whatever comes late finds nothing.
#[test]
fn sessions_come_and_go_while_threads_do() {
    let _alone = alone();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    thread::spawn(|| {
                        global::cpu().thread_began();
                        burn_one(MILLI / 2);
                    })
                    .join()
                    .unwrap();
                }
            });
        }
        for _ in 0..60 {
            let mut session = global::start_cpu(1000).unwrap();
            session.cover();
            assert!(!session.stop().torn);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
