//! Who made others wait: Go's TestMutexProfile, TestMutexProfileRateAdjust and
//! TestRuntimeLockMetricsAndProfile for std's and parking_lot's locks.
#![cfg(all(target_os = "linux", not(target_feature = "crt-static")))]
#![allow(clippy::unwrap_used)]

mod waiting;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use everprof::labels;
use waiting::{GRAIN, Waiter, await_blocked, is_in, kinds_of, of_function, record_all, taken, tid};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

/// A lock that anyone may wait for.
trait Lock: Default + Send + Sync + 'static {
    fn with<R>(&self, work: impl FnOnce() -> R) -> R;
}

impl Lock for Mutex<()> {
    fn with<R>(&self, work: impl FnOnce() -> R) -> R {
        let _held = self.lock().unwrap();
        work()
    }
}

impl Lock for parking_lot::Mutex<()> {
    fn with<R>(&self, work: impl FnOnce() -> R) -> R {
        let _held = self.lock();
        work()
    }
}

const WAITERS: usize = 100;
const HELD: Duration = Duration::from_millis(100);

/// What 100 waiters had waited when the holder let go, by clocks.
fn makes_100_wait<L: Lock>(holder: fn(&L, &mut dyn FnMut())) -> Duration {
    record_all();
    let lock = Arc::new(L::default());
    let mut begun = Duration::ZERO;
    let mut waiters = Vec::new();
    let mut released = None;
    holder(&lock, &mut || {
        let start = Instant::now();
        for _ in 0..WAITERS {
            let (theirs, tid) = (lock.clone(), Arc::new(AtomicU32::new(0)));
            let mine = tid.clone();
            waiters.push(thread::spawn(move || {
                mine.store(self::tid(), Ordering::Relaxed);
                theirs.with(|| ());
            }));
            await_blocked(&tid);
            begun += start.elapsed();
        }
        thread::sleep(HELD);
        released = Some(start.elapsed());
    });
    for waiter in waiters {
        waiter.join().unwrap();
    }
    released.unwrap() * WAITERS as u32 - begun
}

fn assert_charged(holder: &str, waited: Duration) {
    let (contentions, delay) = of_function(&taken("mutex"), holder);
    let share = delay.as_secs_f64() / waited.as_secs_f64();
    assert!((0.9..=1.1).contains(&share), "{delay:?} of {waited:?}");
    assert!(contentions >= 1);
    assert_eq!(kinds_of(&taken("mutex"), holder), ["mutex"]);
}

#[inline(never)]
fn holds_std_mutex(lock: &Mutex<()>, work: &mut dyn FnMut()) {
    lock.with(work);
}

#[inline(never)]
fn holds_parking_lot_mutex(lock: &parking_lot::Mutex<()>, work: &mut dyn FnMut()) {
    lock.with(work);
}

#[test]
fn holder_of_std_mutex_is_charged_with_all_who_waited_meanwhile() {
    let waited = makes_100_wait(holds_std_mutex);
    assert_charged("holds_std_mutex", waited);
}

#[test]
fn holder_of_parking_lot_mutex_is_charged_with_all_who_waited_meanwhile() {
    let waited = makes_100_wait(holds_parking_lot_mutex);
    assert_charged("holds_parking_lot_mutex", waited);
}

#[inline(never)]
fn reads_and_lets_write(lock: &std::sync::RwLock<()>, work: &mut dyn FnMut()) {
    let held = lock.read().unwrap();
    work();
    drop(held);
}

#[test]
fn reader_is_charged_with_the_writer_that_waits_for_it() {
    record_all();
    let lock = Arc::new(std::sync::RwLock::new(()));
    let mut passed = None;
    let begun = Instant::now();
    let mut waiter = None;
    reads_and_lets_write(&lock, &mut || {
        let theirs = lock.clone();
        let waiting = Waiter::start(move || drop(theirs.write().unwrap()));
        waiting.await_blocked();
        waiter = Some(waiting);
        let begin = Instant::now();
        thread::sleep(HELD);
        passed = Some(begin.elapsed());
    });
    waiter.unwrap().join();
    let profile = taken("mutex");
    let (contentions, delay) = of_function(&profile, "reads_and_lets_write");
    assert_eq!(contentions, 1);
    assert!(
        delay + GRAIN >= passed.unwrap() && delay <= begun.elapsed(),
        "{delay:?}"
    );
    assert_eq!(kinds_of(&profile, "reads_and_lets_write"), ["rwlock"]);
}

#[inline(never)]
fn holds_for_a_tenant(lock: &Mutex<()>, work: &mut dyn FnMut()) {
    let _labels = labels! { "tenant" => 9 };
    lock.with(work);
}

#[test]
fn labels_are_those_in_force_at_the_unlock() {
    makes_one_wait(holds_for_a_tenant);
    let profile = taken("mutex");
    let mut ours = profile
        .samples()
        .filter(|s| is_in(&profile, s, "holds_for_a_tenant"));
    assert!(ours.all(|sample| sample.string_label("tenant") == Some("9")));
}

fn makes_one_wait(holder: fn(&Mutex<()>, &mut dyn FnMut())) {
    record_all();
    let lock = Arc::new(Mutex::new(()));
    let mut waiters = Vec::new();
    holder(&lock, &mut || {
        let theirs = lock.clone();
        let waiter = Waiter::start(move || theirs.with(|| ()));
        waiter.await_blocked();
        waiters.push(waiter);
    });
    for waiter in waiters {
        waiter.join();
    }
}

#[inline(never)]
fn holds_before_the_change(lock: &Mutex<()>, work: &mut dyn FnMut()) {
    lock.with(work);
}

/// Go's TestMutexProfileRateAdjust: what is recorded keeps its weight.
#[test]
fn figures_stay_when_period_and_fraction_change() {
    makes_one_wait(holds_before_the_change);
    let before = of_function(&taken("mutex"), "holds_before_the_change");
    assert_eq!(before.0, 1);
    // Other tests record all the while: long waits are recorded under any of these periods.
    for period in [1_000, 2, 1] {
        everprof::mutex::set_period(period);
        assert_eq!(everprof::mutex::period(), period);
        assert_eq!(
            of_function(&taken("mutex"), "holds_before_the_change"),
            before
        );
    }
    assert_eq!(everprof::mutex::set_fraction(1), 0);
    assert_eq!(
        of_function(&taken("mutex"), "holds_before_the_change"),
        before
    );
    assert_eq!(everprof::mutex::set_fraction(0), 1);
}

#[inline(never)]
fn takes_turns<L: Lock>(lock: &L, rounds: u32) -> Duration {
    let mut waited = Duration::ZERO;
    for _ in 0..rounds {
        let begin = Instant::now();
        lock.with(|| {
            waited += begin.elapsed();
            thread::sleep(TURN);
        });
    }
    waited
}

/// Long beside a woken thread's way to a processor, which nobody is charged with: of H held and a
/// way of W, one of three waiters loses W, so that a share of W / 3(H + W) is missing.
const TURN: Duration = Duration::from_millis(10);

/// Go's TestRuntimeLockMetricsAndProfile: what clocks around the locks say, what the waiters
/// are said to have waited, and what the holders are charged with, is the same time.
fn agrees_with_clocks<L: Lock>(takes_turns: fn(&L, u32) -> Duration, function: &str) {
    record_all();
    let lock = L::default();
    let together = Barrier::new(4);
    let clocks: Duration = thread::scope(|scope| {
        let run = || {
            together.wait();
            takes_turns(&lock, 10)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    let (_, waited) = of_function(&taken("block"), function);
    let (_, charged) = of_function(&taken("mutex"), function);
    let share = |part: Duration| part.as_secs_f64() / clocks.as_secs_f64();
    // Between the clocks and the call lies what a machine does that is busy.
    assert!(
        (0.9..=1.0).contains(&share(waited)),
        "{waited:?} of {clocks:?}"
    );
    // Charges end with the wake; from there it is the woken thread's way to a processor.
    assert!(
        (0.8..=1.0).contains(&share(charged)),
        "{charged:?} of {clocks:?}"
    );
}

#[inline(never)]
fn takes_turns_std(lock: &Mutex<()>, rounds: u32) -> Duration {
    takes_turns(lock, rounds)
}

#[inline(never)]
fn takes_turns_parking_lot(lock: &parking_lot::Mutex<()>, rounds: u32) -> Duration {
    takes_turns(lock, rounds)
}

#[test]
fn both_profiles_agree_with_clocks_around_std_mutex() {
    agrees_with_clocks(takes_turns_std, "takes_turns_std");
}

#[test]
fn both_profiles_agree_with_clocks_around_parking_lot_mutex() {
    agrees_with_clocks(takes_turns_parking_lot, "takes_turns_parking_lot");
}
