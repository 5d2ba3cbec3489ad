//! Waits of real threads in real futexes, recorded by hand: what the charges add up to, and
//! what forks, jumps and ends of threads leave behind.
//!
//! Not where `syscall` is ours: each wait would be seen twice, and those of std's locks too.
#![cfg(all(
    target_os = "linux",
    not(feature = "interpose"),
    not(miri),
    not(everprof_loom)
))]
#![allow(clippy::unwrap_used)]

mod child;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use child::holds_in_child;
use everprof_core::global;
use everprof_core::settings::Name;
use everprof_core::stack::Registers;
use everprof_core::waits::{self, Ended, Operation, Wait};

/// The process has one recorder: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn everything() {
    everprof_core::modules::refresh();
    global::store().set(Name::BlockPeriod, 1);
    global::store().set(Name::MutexPeriod, 1);
}

fn futex(word: &AtomicU32, operation: i32, value: u32) -> i64 {
    // SAFETY: a futex call on a live word, which is only read; no timeout.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            std::ptr::from_ref(word),
            operation | libc::FUTEX_PRIVATE_FLAG,
            value,
            std::ptr::null::<libc::timespec>(),
        )
    }
}

/// Waits as long as `word` is `value`.
#[inline(never)]
fn wait_while(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) == value {
        let wait = Wait {
            operation: Operation::Futex,
            address: std::ptr::from_ref(word) as usize,
            timed: false,
        };
        waits::around(
            &wait,
            &Registers::here(),
            || futex(word, libc::FUTEX_WAIT, value),
            |&result| {
                if result == 0 {
                    Ended::Woken
                } else {
                    Ended::NotSlept
                }
            },
        );
    }
}

#[inline(never)]
fn wake(word: &AtomicU32, count: u32) {
    waits::wake(
        std::ptr::from_ref(word) as usize,
        &Registers::here(),
        || futex(word, libc::FUTEX_WAKE, count),
        |&result| result.max(0) as u32,
    );
}

/// A lock such as std's: 2 says that somebody may wait.
struct Lock(AtomicU32);

impl Lock {
    fn lock(&self) {
        if self.0.swap(1, Ordering::Acquire) != 0 {
            while self.0.swap(2, Ordering::Acquire) != 0 {
                wait_while(&self.0, 2);
            }
        }
    }

    fn unlock(&self) {
        if self.0.swap(0, Ordering::Release) == 2 {
            wake(&self.0, 1);
        }
    }
}

/// Sums of the mutex profile and of the block profile, in nanoseconds.
fn totals() -> (u64, u64) {
    let recorder = global::waits();
    let (mutex, block) = (recorder.mutex(), recorder.block());
    (
        mutex.iter().map(|bucket| bucket.waits.delay_nanos).sum(),
        block.iter().map(|bucket| bucket.waits.delay_nanos).sum(),
    )
}

fn count_blocked() -> usize {
    let mut count = 0;
    global::waits().for_each_blocked(|_| count += 1);
    count
}

fn until(mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// As Go's TestMutexProfile, which allows 0.9 to 1.1: what a hundred waiters waited for one
/// holder is charged to it. What passed is taken on either side of what is certain.
#[test]
fn hundred_waiters_are_charged_to_the_one_they_waited_for() {
    let _turn = TURN.lock();
    everything();
    let word = AtomicU32::new(0);
    let (before, _) = totals();
    let first = AtomicU64::new(0);
    let clock = Instant::now();
    let now = || clock.elapsed().as_nanos() as u64;
    let passed = std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                first.fetch_add(now(), Ordering::Relaxed);
                wait_while(&word, 0);
            });
        }
        until(|| count_blocked() == 100);
        std::thread::sleep(Duration::from_millis(200));
        word.store(1, Ordering::Release);
        let passed = 100 * now() - first.load(Ordering::Relaxed);
        wake(&word, u32::MAX / 2);
        passed
    });
    let (after, _) = totals();
    let share = (after - before) as f64 / passed as f64;
    assert!((0.98..1.02).contains(&share), "{share}");
    assert_eq!(count_blocked(), 0);
}

/// Every nanosecond that waiters waited until the wake that ended it is charged to somebody,
/// whatever races; their way to the processor is not.
#[test]
fn charges_of_contended_locks_add_up_to_no_more_than_the_waits() {
    let _turn = TURN.lock();
    everything();
    let locks = [const { Lock(AtomicU32::new(0)) }; 3];
    let (mutex_before, block_before) = totals();
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            let (locks, barrier) = (&locks, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for n in 0..300 {
                    let lock = &locks[(thread + n) % 3];
                    lock.lock();
                    let held = Instant::now();
                    while held.elapsed() < Duration::from_micros(20) {
                        std::hint::spin_loop();
                    }
                    lock.unlock();
                }
            });
        }
    });
    let (mutex, block) = totals();
    let (mutex, block) = (mutex - mutex_before, block - block_before);
    assert!(mutex > 0 && block > 0);
    // 16 ns of rounding for each of some thousands of waits.
    assert!(mutex <= block + 1_000_000, "{mutex} of {block}");
    assert_eq!(count_blocked(), 0);
}

#[test]
fn blocked_thread_shows_what_it_waits_for_and_since_when() {
    let _turn = TURN.lock();
    everything();
    let (word, tid) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let (word, tid) = (&word, &tid);
        scope.spawn(move || {
            // SAFETY: no preconditions.
            tid.store(unsafe { libc::gettid() } as u32, Ordering::Release);
            wait_while(word, 0);
        });
        until(|| count_blocked() == 1);
        let mut seen = Vec::new();
        global::waits().for_each_blocked(|blocked| seen.push(*blocked));
        assert_eq!(seen[0].tid, tid.load(Ordering::Acquire));
        assert_eq!(seen[0].address, std::ptr::from_ref(word) as usize);
        assert_eq!(seen[0].operation, Operation::Futex);
        assert!(!seen[0].timed && seen[0].since_nanos > 0 && seen[0].registers.sp != 0);
        word.store(1, Ordering::Release);
        wake(word, 1);
    });
}

/// A thread that ends in the midst of a wait, as one that is cancelled does.
#[test]
fn thread_that_ends_in_a_wait_leaves_no_waiter() {
    let _turn = TURN.lock();
    everything();
    let word = AtomicU32::new(0);
    let address = std::ptr::from_ref(&word) as usize;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let wait = Wait {
                operation: Operation::Condition,
                address,
                timed: false,
            };
            let mut begun = waits::Begun::NOTHING;
            global::waits().begin(&wait, &Registers::here(), &mut begun);
            assert!(begun.is_something());
        });
    });
    until(|| count_blocked() == 0);
    let (before, _) = totals();
    std::thread::sleep(Duration::from_millis(5));
    wake(&word, 1);
    assert_eq!(totals().0, before, "nobody waits there");
}

#[test]
fn child_of_a_fork_has_no_waiters_but_its_own() {
    let _turn = TURN.lock();
    everything();
    let word = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| wait_while(&word, 0));
        until(|| count_blocked() == 1);
        // The fork comes in the midst of a wait of this thread, too (a handler's).
        let wait = Wait {
            operation: Operation::Futex,
            address: 0x1000,
            timed: false,
        };
        let held = waits::around(
            &wait,
            &Registers::here(),
            || {
                holds_in_child(|| {
                    let clean = count_blocked() == 0 && totals() == (0, 0);
                    wake(&word, 1);
                    let uncharged = totals() == (0, 0);
                    // Its own wait is one of its own number.
                    let other = AtomicU32::new(1);
                    let mut own = 0;
                    let wait = Wait {
                        address: std::ptr::from_ref(&other) as usize,
                        ..wait
                    };
                    waits::around(
                        &wait,
                        &Registers::here(),
                        || global::waits().for_each_blocked(|blocked| own = blocked.tid),
                        |()| Ended::TimedOut,
                    );
                    // SAFETY: no preconditions.
                    let tid = unsafe { libc::gettid() } as u32;
                    clean && uncharged && own == tid && totals().1 > 0
                })
            },
            |_| Ended::TimedOut,
        );
        assert!(held);
        assert_eq!(count_blocked(), 1, "the parent's are as they were");
        word.store(1, Ordering::Release);
        wake(&word, 1);
    });
    assert_eq!(count_blocked(), 0);
}

/// The wait in the child of a fork ends, in the child, where it began: with the parent.
#[test]
fn wait_that_a_fork_interrupted_ends_in_the_child_without_a_trace() {
    let _turn = TURN.lock();
    everything();
    let wait = Wait {
        operation: Operation::Futex,
        address: 0x2000,
        timed: false,
    };
    let mut in_child = false;
    let process = waits::around(
        &wait,
        &Registers::here(),
        // SAFETY: the child ends below.
        || unsafe { libc::fork() },
        |_| Ended::TimedOut,
    );
    if process == 0 {
        in_child = true;
    }
    if in_child {
        let clean = totals() == (0, 0) && count_blocked() == 0;
        // SAFETY: ends the child without running anybody's destructors.
        unsafe { libc::_exit(i32::from(!clean)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(process, &raw mut status, 0) };
    assert_eq!(status, 0);
}
