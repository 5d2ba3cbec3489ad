//! C's locks, conditions and semaphores answer through us as they do alone.
//!
//! Each story is told twice, to our definitions and to the next ones, and must be answered
//! in the same words. The truth is the C library on the machine.

#![cfg(all(
    feature = "interpose",
    feature = "preload",
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    clippy::missing_transmute_annotations,
    reason = "a story is one sequence of C calls on one lock, and `Family` names each type"
)]

mod seen;

use std::ffi::{CStr, c_int, c_void};
use std::mem::{MaybeUninit, transmute};
use std::ptr::null;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::thread;

use everprof_core::waits::Operation;
use libc::{pthread_cond_t, pthread_mutex_t, pthread_rwlock_t, sem_t, timespec};
use seen::{is_blocked, own_tid, wakes, want_all};

type Mutex = *mut pthread_mutex_t;
type Lock = *mut pthread_rwlock_t;
type Condition = *mut pthread_cond_t;
type Semaphore = *mut sem_t;
type Time = *const timespec;
type Of<T> = unsafe extern "C" fn(T) -> c_int;
type Timed<T> = unsafe extern "C" fn(T, Time) -> c_int;
type Clocked<T> = unsafe extern "C" fn(T, c_int, Time) -> c_int;

/// A family of functions: all ours, or all the C library's.
#[derive(Clone, Copy)]
struct Family {
    lock: Of<Mutex>,
    timedlock: Timed<Mutex>,
    clocklock: Clocked<Mutex>,
    unlock: Of<Mutex>,
    read: Of<Lock>,
    read_timed: Timed<Lock>,
    read_clocked: Clocked<Lock>,
    write: Of<Lock>,
    write_timed: Timed<Lock>,
    write_clocked: Clocked<Lock>,
    unlock_rw: Of<Lock>,
    wait: unsafe extern "C" fn(Condition, Mutex) -> c_int,
    timedwait: unsafe extern "C" fn(Condition, Mutex, Time) -> c_int,
    clockwait: unsafe extern "C" fn(Condition, Mutex, c_int, Time) -> c_int,
    signal: Of<Condition>,
    broadcast: Of<Condition>,
    sem_wait: Of<Semaphore>,
    sem_timedwait: Timed<Semaphore>,
    post: Of<Semaphore>,
    barrier: Of<*mut libc::pthread_barrier_t>,
}

/// The definition that a library of this program would be bound to, or the next one.
fn symbol(name: &CStr, ours: bool) -> *mut c_void {
    let conditions = if cfg!(target_arch = "x86_64") {
        c"GLIBC_2.3.2"
    } else {
        c"GLIBC_2.17"
    };
    // SAFETY: both are C strings; the loader is asked from this program's text.
    let found = unsafe {
        if ours {
            libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr())
        } else if name.to_bytes().starts_with(b"pthread_cond_") && name != c"pthread_cond_clockwait"
        {
            libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), conditions.as_ptr())
        } else {
            libc::dlsym(libc::RTLD_NEXT, name.as_ptr())
        }
    };
    assert!(!found.is_null(), "{name:?}");
    found
}

impl Family {
    fn new(ours: bool) -> Self {
        // SAFETY: each symbol is a function of the C type that its field has, and not null
        // (`symbol` looks).
        unsafe {
            Self {
                lock: transmute(symbol(c"pthread_mutex_lock", ours)),
                timedlock: transmute(symbol(c"pthread_mutex_timedlock", ours)),
                clocklock: transmute(symbol(c"pthread_mutex_clocklock", ours)),
                unlock: transmute(symbol(c"pthread_mutex_unlock", ours)),
                read: transmute(symbol(c"pthread_rwlock_rdlock", ours)),
                read_timed: transmute(symbol(c"pthread_rwlock_timedrdlock", ours)),
                read_clocked: transmute(symbol(c"pthread_rwlock_clockrdlock", ours)),
                write: transmute(symbol(c"pthread_rwlock_wrlock", ours)),
                write_timed: transmute(symbol(c"pthread_rwlock_timedwrlock", ours)),
                write_clocked: transmute(symbol(c"pthread_rwlock_clockwrlock", ours)),
                unlock_rw: transmute(symbol(c"pthread_rwlock_unlock", ours)),
                wait: transmute(symbol(c"pthread_cond_wait", ours)),
                timedwait: transmute(symbol(c"pthread_cond_timedwait", ours)),
                clockwait: transmute(symbol(c"pthread_cond_clockwait", ours)),
                signal: transmute(symbol(c"pthread_cond_signal", ours)),
                broadcast: transmute(symbol(c"pthread_cond_broadcast", ours)),
                sem_wait: transmute(symbol(c"sem_wait", ours)),
                sem_timedwait: transmute(symbol(c"sem_timedwait", ours)),
                post: transmute(symbol(c"sem_post", ours)),
                barrier: transmute(symbol(c"pthread_barrier_wait", ours)),
            }
        }
    }
}

#[track_caller]
fn same(story: impl Fn(&Family) -> Vec<c_int>) {
    let (alone, through_us) = (Family::new(false), Family::new(true));
    assert_ne!(alone.lock as usize, through_us.lock as usize);
    assert_eq!(story(&through_us), story(&alone));
}

const PAST: timespec = timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
const NO_TIME: timespec = timespec {
    tv_sec: 1,
    tv_nsec: 2_000_000_000,
};
const CLOCKS: [c_int; 3] = [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, 99];

/// Runs `f` in another thread while this one waits.
fn elsewhere<R>(f: impl FnOnce() -> R) -> R {
    struct Carried<T>(T);
    // SAFETY: this thread waits for the other one, so that what it carries is used by one at a
    // time; pointers to C's locks may be used anywhere.
    unsafe impl<T> Send for Carried<T> {}
    impl<T> Carried<T> {
        fn out(self) -> T {
            self.0
        }
    }
    let f = Carried(f);
    thread::scope(|scope| {
        scope
            .spawn(move || Carried(f.out()()))
            .join()
            .unwrap()
            .out()
    })
}

fn mutex(kind: c_int, robust: bool, protocol: c_int) -> Box<MaybeUninit<pthread_mutex_t>> {
    let mut mutex = Box::new(MaybeUninit::uninit());
    // SAFETY: the attributes are made first, and the mutex last, in memory that is its own.
    unsafe {
        let mut attributes = MaybeUninit::uninit();
        libc::pthread_mutexattr_init(attributes.as_mut_ptr());
        libc::pthread_mutexattr_settype(attributes.as_mut_ptr(), kind);
        libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), c_int::from(robust));
        libc::pthread_mutexattr_setprotocol(attributes.as_mut_ptr(), protocol);
        let made = libc::pthread_mutex_init(mutex.as_mut_ptr(), attributes.as_ptr());
        assert_eq!(made, 0);
    }
    mutex
}

const KINDS: [c_int; 4] = [
    libc::PTHREAD_MUTEX_NORMAL,
    libc::PTHREAD_MUTEX_RECURSIVE,
    libc::PTHREAD_MUTEX_ERRORCHECK,
    3, // PTHREAD_MUTEX_ADAPTIVE_NP
];

#[test]
fn mutexes_of_every_kind_answer_alike() {
    for protocol in [libc::PTHREAD_PRIO_NONE, libc::PTHREAD_PRIO_INHERIT] {
        for kind in KINDS {
            for robust in [false, true] {
                same(|family| {
                    let mut mutex = mutex(kind, robust, protocol);
                    let mutex = mutex.as_mut_ptr();
                    let mut said = Vec::new();
                    // SAFETY: `mutex` was made above and outlives the story; unlocks of what is
                    // not held are told only where its kind makes them an error.
                    unsafe {
                        said.push((family.lock)(mutex));
                        // Once more: refused, counted, or, where it would wait for ever, timed.
                        if kind == libc::PTHREAD_MUTEX_RECURSIVE
                            || kind == libc::PTHREAD_MUTEX_ERRORCHECK
                        {
                            said.push((family.lock)(mutex));
                        }
                        said.push((family.timedlock)(mutex, &PAST));
                        for clock in CLOCKS {
                            said.push((family.clocklock)(mutex, clock, &PAST));
                        }
                        elsewhere(|| {
                            said.push((family.timedlock)(mutex, &PAST));
                            said.push((family.timedlock)(mutex, &NO_TIME));
                            for clock in CLOCKS {
                                said.push((family.clocklock)(mutex, clock, &PAST));
                            }
                            if kind == libc::PTHREAD_MUTEX_ERRORCHECK || robust {
                                said.push((family.unlock)(mutex));
                            }
                        });
                        // As many unlocks as a recursive one has locks, and one too many
                        // where that is an error and no mistake.
                        let locks = said.iter().take(6).filter(|&&error| error == 0).count();
                        for _ in 0..locks {
                            said.push((family.unlock)(mutex));
                        }
                        if kind != libc::PTHREAD_MUTEX_NORMAL && kind != 3 {
                            said.push((family.unlock)(mutex));
                        }
                        // Free: even no time is time enough.
                        elsewhere(|| {
                            said.push((family.timedlock)(mutex, &NO_TIME));
                            said.push((family.unlock)(mutex));
                        });
                    }
                    said
                });
            }
        }
    }
}

/// Whether the end of a thread is told to who waits for its mutexes: not by qemu's user
/// emulation, under which such a wait never ends.
fn deaths_are_told() -> bool {
    let family = Family::new(false);
    let mut mutex = mutex(libc::PTHREAD_MUTEX_NORMAL, true, libc::PTHREAD_PRIO_NONE);
    let mutex = mutex.as_mut_ptr();
    // SAFETY: made above, and robust: its holder may end.
    elsewhere(|| unsafe { (family.lock)(mutex) });
    // SAFETY: as above.
    let error = unsafe { (family.timedlock)(mutex, &PAST) };
    if error == libc::EOWNERDEAD {
        // SAFETY: that answer is one with the lock.
        unsafe { (family.unlock)(mutex) };
    }
    error == libc::EOWNERDEAD
}

#[test]
fn robust_mutex_tells_of_its_dead_owner() {
    if !deaths_are_told() {
        return;
    }
    for protocol in [libc::PTHREAD_PRIO_NONE, libc::PTHREAD_PRIO_INHERIT] {
        for heal in [false, true] {
            same(|family| {
                let mut mutex = mutex(libc::PTHREAD_MUTEX_NORMAL, true, protocol);
                let mutex = mutex.as_mut_ptr();
                let mut said = Vec::new();
                // SAFETY: made above, and robust; each unlock is of a lock that was got.
                unsafe {
                    elsewhere(|| said.push((family.lock)(mutex)));
                    said.push((family.lock)(mutex));
                    assert_eq!(*said.last().unwrap(), libc::EOWNERDEAD);
                    if heal {
                        said.push(libc::pthread_mutex_consistent(mutex));
                    }
                    said.push((family.unlock)(mutex));
                    said.push((family.lock)(mutex));
                    if heal {
                        // Or it would stand in the thread's list when it is gone.
                        said.push((family.unlock)(mutex));
                    }
                }
                said
            });
        }
    }
}

#[test]
fn locks_for_reading_and_writing_answer_alike() {
    same(|family| {
        let mut lock: pthread_rwlock_t = libc::PTHREAD_RWLOCK_INITIALIZER;
        let lock = &raw mut lock;
        let mut said = Vec::new();
        // SAFETY: `lock` is made above and outlives the story; with no time none of these waits.
        let all_timed = |said: &mut Vec<c_int>| unsafe {
            for time in [&PAST, &NO_TIME] {
                said.push((family.read_timed)(lock, time));
                said.push((family.write_timed)(lock, time));
                for clock in CLOCKS {
                    said.push((family.read_clocked)(lock, clock, time));
                    said.push((family.write_clocked)(lock, clock, time));
                }
            }
        };
        // SAFETY: as above; each unlock is of a lock that its thread, or the one that waits for
        // it, has.
        unsafe {
            // Written by us: all else is refused, or too late.
            said.push((family.write)(lock));
            said.push((family.write)(lock));
            said.push((family.read)(lock));
            all_timed(&mut said);
            elsewhere(|| all_timed(&mut said));
            said.push((family.unlock_rw)(lock));
            // Read by us: readers come in.
            said.push((family.read)(lock));
            said.push((family.read)(lock));
            elsewhere(|| {
                said.push((family.read_timed)(lock, &PAST));
                said.push((family.read_timed)(lock, &NO_TIME));
                said.push((family.write_timed)(lock, &PAST));
                said.push((family.unlock_rw)(lock));
            });
            said.push((family.unlock_rw)(lock));
            said.push((family.unlock_rw)(lock));
            said.push((family.write)(lock));
        }
        said
    });
}

fn condition(clock: c_int) -> Box<MaybeUninit<pthread_cond_t>> {
    let mut condition = Box::new(MaybeUninit::uninit());
    // SAFETY: the attributes are made first, and the condition last, in memory of its own.
    unsafe {
        let mut attributes = MaybeUninit::uninit();
        libc::pthread_condattr_init(attributes.as_mut_ptr());
        libc::pthread_condattr_setclock(attributes.as_mut_ptr(), clock);
        libc::pthread_cond_init(condition.as_mut_ptr(), attributes.as_ptr());
    }
    condition
}

#[test]
fn conditions_answer_alike_by_either_clock() {
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
        same(|family| {
            let mut mutex = mutex(libc::PTHREAD_MUTEX_ERRORCHECK, false, 0);
            let mutex = mutex.as_mut_ptr();
            let mut condition = condition(clock);
            let condition = condition.as_mut_ptr();
            let mut said = Vec::new();
            // SAFETY: both were made above and outlive the story. The mutex checks, so that the
            // wait without it is an error.
            unsafe {
                // Without the mutex.
                said.push((family.timedwait)(condition, mutex, &PAST));
                said.push((family.lock)(mutex));
                said.push((family.timedwait)(condition, mutex, &PAST));
                said.push((family.timedwait)(condition, mutex, &NO_TIME));
                for clock in CLOCKS {
                    said.push((family.clockwait)(condition, mutex, clock, &PAST));
                }
                // It is ours again after each.
                said.push((family.unlock)(mutex));
                said.push((family.signal)(condition));
                said.push((family.broadcast)(condition));
                said.push(libc::pthread_cond_destroy(condition));
            }
            said
        });
    }
}

/// Those of 1999, which some loaders find first on x86-64, know one clock only: by that one
/// a thousand seconds from now by the other are long over.
#[test]
fn conditions_are_those_of_today() {
    let family = Family::new(true);
    let mut mutex = mutex(libc::PTHREAD_MUTEX_NORMAL, false, 0);
    let mutex = mutex.as_mut_ptr();
    let mut condition = condition(libc::CLOCK_MONOTONIC);
    let condition = condition.as_mut_ptr();
    let (said, done) = (AtomicI32::new(-1), AtomicBool::new(false));
    elsewhere_after(
        // SAFETY: both were made above and outlive both threads.
        || unsafe {
            let mut until = PAST;
            libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut until);
            until.tv_sec += 1000;
            (family.lock)(mutex);
            said.store(
                (family.timedwait)(condition, mutex, &until),
                Ordering::Relaxed,
            );
            (family.unlock)(mutex);
            done.store(true, Ordering::Relaxed);
        },
        || {
            while !done.load(Ordering::Relaxed) {
                // SAFETY: as above.
                unsafe {
                    (family.lock)(mutex);
                    (family.broadcast)(condition);
                    (family.unlock)(mutex);
                }
                thread::yield_now();
            }
        },
    );
    assert_eq!(said.into_inner(), 0);
}

#[test]
fn semaphores_answer_alike_and_leave_errno() {
    same(|family| {
        let mut semaphore = MaybeUninit::uninit();
        let semaphore: Semaphore = semaphore.as_mut_ptr();
        let mut said = Vec::new();
        // SAFETY: the semaphore is made first and outlives the story; `errno` is this thread's.
        unsafe {
            libc::sem_init(semaphore, 0, 1);
            let errno = libc::__errno_location();
            let mut answer = |call: &dyn Fn() -> c_int| {
                *errno = 77;
                said.push(call());
                said.push(*errno);
            };
            answer(&|| (family.sem_wait)(semaphore));
            answer(&|| (family.sem_timedwait)(semaphore, &PAST));
            answer(&|| (family.sem_timedwait)(semaphore, &NO_TIME));
            answer(&|| (family.post)(semaphore));
            answer(&|| (family.sem_timedwait)(semaphore, &NO_TIME));
            answer(&|| (family.sem_wait)(semaphore));
        }
        said
    });
}

#[test]
fn who_waits_and_who_wakes_is_told() {
    want_all();
    let family = Family::new(true);
    let mut mutex = mutex(libc::PTHREAD_MUTEX_NORMAL, false, 0);
    let mutex = mutex.as_mut_ptr();
    let mut lock: pthread_rwlock_t = libc::PTHREAD_RWLOCK_INITIALIZER;
    let lock = &raw mut lock;
    let mut condition = condition(libc::CLOCK_REALTIME);
    let condition = condition.as_mut_ptr();
    let mut barrier = MaybeUninit::uninit();
    let barrier = barrier.as_mut_ptr();
    let mut semaphore = MaybeUninit::uninit();
    let semaphore: Semaphore = semaphore.as_mut_ptr();
    let (theirs, ready) = (AtomicU32::new(0), AtomicBool::new(false));
    // The waiter goes on only after it has been seen.
    let until_blocked = |operation| {
        while !is_blocked(theirs.load(Ordering::Relaxed), operation) {
            std::hint::spin_loop();
        }
    };
    let before = wakes();
    // SAFETY: all five are made above or first here, and outlive both threads. A lock for
    // writing is given back by the thread that took it, and so is the mutex.
    unsafe {
        libc::pthread_barrier_init(barrier, null(), 2);
        libc::sem_init(semaphore, 0, 0);
        (family.lock)(mutex);
        (family.write)(lock);
        elsewhere_after(
            || {
                theirs.store(own_tid(), Ordering::Relaxed);
                (family.lock)(mutex);
                while !ready.load(Ordering::Relaxed) {
                    (family.wait)(condition, mutex);
                }
                (family.unlock)(mutex);
                (family.read)(lock);
                (family.sem_wait)(semaphore);
                (family.barrier)(barrier);
            },
            || {
                until_blocked(Operation::Lock);
                (family.unlock)(mutex);
                until_blocked(Operation::Condition);
                (family.lock)(mutex);
                ready.store(true, Ordering::Relaxed);
                (family.broadcast)(condition);
                (family.unlock)(mutex);
                until_blocked(Operation::Rwlock);
                (family.unlock_rw)(lock);
                until_blocked(Operation::Condition);
                (family.post)(semaphore);
                until_blocked(Operation::Condition);
                (family.barrier)(barrier);
            },
        );
    }
    // Of the mutex, the condition, the lock and the semaphore.
    assert!(wakes() >= before + 4);
}

/// Runs `there` in another thread and `here` in this one.
fn elsewhere_after(there: impl FnOnce(), here: impl FnOnce()) {
    struct Carried<T>(T);
    // SAFETY: what the two share are atomics and pointers to C's locks, which any thread may use.
    unsafe impl<T> Send for Carried<T> {}
    impl<T: FnOnce()> Carried<T> {
        fn run(self) {
            (self.0)();
        }
    }
    let there = Carried(there);
    thread::scope(|scope| {
        scope.spawn(move || there.run());
        here();
    });
}
