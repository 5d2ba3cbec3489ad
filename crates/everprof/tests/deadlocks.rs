//! Deadlocks of whole programs: what is found, and what is not.
//!
//! Each program is a process of its own, since a thread that runs may hold any lock, and
//! since a deadlock does not end. It waits until it is found, or has been looked
//! at often enough not to be; nothing is timed but the patience of a failure.
#![cfg(all(
    target_os = "linux",
    feature = "interpose",
    not(target_feature = "crt-static"),
    // What the kernel tells of an emulated thread that sleeps are the emulator's registers.
    not(everprof_emulated)
))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use everprof::block::{Awaited, Deadlock, deadlocks};

const PROGRAM: &str = "EVERPROF_TEST_DEADLOCK";

/// How a program ends that did not find its deadlock.
const NOT_FOUND: i32 = 3;

/// Programs that may end so before a test fails. A word that somebody left on a stack
/// which is used again may name a lock, and then its holder is rightly not known. One
/// program in ten was seen to have such a word: five in a row are one in 100,000.
const PROGRAMS: u32 = 5;

/// Runs the test of this name as a program of its own, which is to end well. What is
/// found in error, or found otherwise than it is, fails at once.
fn alone(test: &str, program: fn()) {
    if std::env::var_os(PROGRAM).is_some() {
        program();
        std::process::exit(0);
    }
    for left in (0..PROGRAMS).rev() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(PROGRAM, "1")
            .output()
            .unwrap();
        if output.status.code() != Some(NOT_FOUND) || left == 0 {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}\n{text}", output.status);
            return;
        }
    }
}

/// Locks apart from whatever else the program allocates, as in one that has a heap to
/// speak of: what is near a lock may be part of what it is in. All blocks are of one size and
/// none is given back, so that there is no room for others between.
fn apart<T: Default>() -> Arc<T> {
    let mut all: Vec<Arc<T>> = Vec::with_capacity(8000);
    all.extend((0..8000).map(|_| Arc::default()));
    let one = all.swap_remove(4000);
    std::mem::forget(all);
    one
}

/// Runs `build` on a thread that is gone when it returns, with all that its stack held.
fn elsewhere(build: impl FnOnce() + Send + 'static) {
    thread::spawn(build).join().unwrap();
}

fn named(name: &str, body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .unwrap()
}

/// Asks until there is one, or the program is given up.
fn until_found() -> Vec<Deadlock> {
    for _ in 0..100 {
        let found = deadlocks();
        if !found.is_empty() {
            return found;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let text = everprof::profile::lookup("threads").unwrap();
    let mut out = Vec::new();
    text.write_text(&mut out, 2).unwrap();
    eprintln!("none was found:\n{}", String::from_utf8_lossy(&out));
    std::process::exit(NOT_FOUND);
}

/// Asks for all threads until what is told has a deadlock, or the program is given up.
fn until_told(ask: impl Fn() -> String) -> String {
    let mut text = String::new();
    for _ in 0..100 {
        text = ask();
        // One that had yet to run when the dump was made is in its lock by the next.
        if text.contains("\ndeadlock: ") && text.matches(" [mutex 0x").count() == 2 {
            return text;
        }
        thread::sleep(Duration::from_millis(100));
    }
    eprintln!("not told:\n{text}");
    std::process::exit(NOT_FOUND);
}

/// What a dump says of two threads that wait for each other's lock.
fn is_told(text: &str) {
    assert!(text.contains("\ndeadlock: 2 threads wait for one another\n"));
    for thread in ["ring-0", "ring-1"] {
        assert!(text.contains(&format!("\"{thread}\" [mutex 0x")), "{text}");
    }
}

/// The names of one deadlock's threads, in order.
fn names(found: &[Deadlock]) -> Vec<&str> {
    let [deadlock] = found else {
        panic!("one: {found:?}");
    };
    let mut names: Vec<_> = deadlock.threads.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Threads that each take their own lock of a ring and then the next one's.
fn ring(count: usize) {
    let locks = apart::<[Mutex<()>; 3]>();
    let all_have_one = Arc::new(Barrier::new(count));
    for n in 0..count {
        let (locks, all_have_one) = (locks.clone(), all_have_one.clone());
        named(&format!("ring-{n}"), move || {
            let own = locks[n].lock().unwrap();
            all_have_one.wait();
            let next = locks[(n + 1) % count].lock().unwrap();
            drop((own, next));
        });
    }
}

/// Threads with nothing to do: parked, on a condition, asleep, for a descriptor.
fn idle() {
    named("idle-park", || {
        loop {
            thread::park();
        }
    });
    named("idle-condvar", || {
        let pair = Arc::new((Mutex::new(()), Condvar::new()));
        let guard = pair.0.lock().unwrap();
        let _never = pair.1.wait_while(guard, |()| true);
    });
    named("idle-sleep", || {
        loop {
            thread::sleep(Duration::from_secs(3600));
        }
    });
    named("idle-epoll", || {
        // SAFETY: a plain system call.
        let epoll = unsafe { libc::epoll_create1(0) };
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: the event is ours, and there is nothing that could happen.
        unsafe { libc::epoll_wait(epoll, &raw mut event, 1, -1) };
    });
    named("idle-accept", || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _never = listener.accept();
    });
}

#[test]
fn two_threads_that_take_two_locks_in_turn_are_found() {
    alone("two_threads_that_take_two_locks_in_turn_are_found", || {
        elsewhere(|| ring(2));
        let found = until_found();
        assert_eq!(names(&found), ["ring-0", "ring-1"]);
        for thread in &found[0].threads {
            let Awaited::Lock { kind, held_by, .. } = &thread.awaits else {
                panic!("{thread:?}");
            };
            assert_eq!(*kind, "mutex");
            assert!(
                held_by
                    .iter()
                    .all(|id| found[0].threads.iter().any(|t| t.id == *id))
            );
            assert!(
                thread.stack.iter().any(|name| name.contains("ring")),
                "{thread:?}"
            );
        }
    });
}

#[test]
fn dump_tells_of_threads_that_wait_for_locks_in_turn() {
    alone("dump_tells_of_threads_that_wait_for_locks_in_turn", || {
        elsewhere(|| ring(2));
        let server = everprof::serve("127.0.0.1:0").unwrap();
        is_told(&until_told(|| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            let request = "GET /debug/pprof/threads?debug=2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        }));
    });
}

/// Who asks is a thread like others, and has had the locks' addresses on its stack meanwhile.
#[test]
fn dump_that_a_thread_of_the_program_makes_tells_of_others_locks() {
    alone(
        "dump_that_a_thread_of_the_program_makes_tells_of_others_locks",
        || {
            elsewhere(|| ring(2));
            is_told(&until_told(|| {
                let mut text = String::new();
                everprof::stacks::write(true, &mut text).unwrap();
                text
            }));
        },
    );
}

#[test]
fn three_are_found_among_threads_that_are_idle() {
    alone("three_are_found_among_threads_that_are_idle", || {
        // First, or one of them would be given the stack of whoever built the ring, with
        // what that has left behind.
        idle();
        elsewhere(|| ring(3));
        assert_eq!(names(&until_found()), ["ring-0", "ring-1", "ring-2"]);
    });
}

#[test]
fn whoever_joins_one_of_them_and_has_the_locks_at_hand_is_stuck_with_them() {
    const TEST: &str = "whoever_joins_one_of_them_and_has_the_locks_at_hand_is_stuck_with_them";
    alone(TEST, || {
        elsewhere(|| {
            named("joins", || {
                let locks = apart::<(Mutex<()>, Mutex<()>)>();
                let both = Arc::new(Barrier::new(2));
                let (theirs, meet) = (locks.clone(), both.clone());
                let first = named("first", move || {
                    let a = theirs.0.lock().unwrap();
                    meet.wait();
                    let b = theirs.1.lock().unwrap();
                    drop((a, b));
                });
                let theirs = locks.clone();
                named("second", move || {
                    let b = theirs.1.lock().unwrap();
                    both.wait();
                    let a = theirs.0.lock().unwrap();
                    drop((a, b));
                });
                first.join().unwrap();
                drop(locks);
            });
        });
        let found = until_found();
        let [deadlock] = found.as_slice() else {
            panic!("one: {found:?}");
        };
        let mut stuck: Vec<_> = deadlock.threads.iter().map(|t| t.name.as_str()).collect();
        stuck.sort_unstable();
        assert_eq!(stuck, ["first", "joins", "second"]);
    });
}

#[test]
fn threads_that_join_one_another_through_a_lock_are_found() {
    alone(
        "threads_that_join_one_another_through_a_lock_are_found",
        || {
            elsewhere(|| {
                let lock = apart::<Mutex<()>>();
                named("holder", move || {
                    let guard = lock.lock().unwrap();
                    let theirs = lock.clone();
                    let waiter = named("waiter", move || drop(theirs.lock().unwrap()));
                    waiter.join().unwrap();
                    drop(guard);
                });
            });
            assert_eq!(names(&until_found()), ["holder", "waiter"]);
        },
    );
}

#[test]
fn writers_of_two_locks_in_turn_are_found() {
    alone("writers_of_two_locks_in_turn_are_found", || {
        elsewhere(|| {
            let locks = apart::<(RwLock<()>, RwLock<()>)>();
            let both = Arc::new(Barrier::new(2));
            for n in 0..2 {
                let (locks, both) = (locks.clone(), both.clone());
                named(&format!("writer-{n}"), move || {
                    let pair = [&locks.0, &locks.1];
                    let own = pair[n].write().unwrap();
                    both.wait();
                    drop(pair[1 - n].write().unwrap());
                    drop(own);
                });
            }
        });
        let found = until_found();
        assert_eq!(names(&found), ["writer-0", "writer-1"]);
        let is_rwlock = |awaits: &Awaited| matches!(awaits, Awaited::Lock { kind: "rwlock", .. });
        assert!(found[0].threads.iter().all(|t| is_rwlock(&t.awaits)));
    });
}

#[test]
fn a_reader_that_writes_waits_for_itself() {
    alone("a_reader_that_writes_waits_for_itself", || {
        elsewhere(|| {
            let lock = apart::<RwLock<()>>();
            named("upgrades", move || {
                let read = lock.read().unwrap();
                drop(lock.write().unwrap());
                drop(read);
            });
        });
        assert_eq!(names(&until_found()), ["upgrades"]);
    });
}

#[test]
fn a_thread_that_locks_twice_waits_for_itself_and_others_behind_it() {
    const TEST: &str = "a_thread_that_locks_twice_waits_for_itself_and_others_behind_it";
    alone(TEST, || {
        elsewhere(|| {
            let lock = apart::<Mutex<()>>();
            named("twice", move || {
                let guard = lock.lock().unwrap();
                drop(lock.lock().unwrap());
                drop(guard);
            });
        });
        let found = until_found();
        assert_eq!(names(&found), ["twice"]);
        assert!(
            found[0].to_string().contains("held by itself"),
            "{}",
            found[0]
        );
    });
}

/// Asks for a while, in which every thread has come to where it stays.
fn never_found() {
    for _ in 0..20 {
        let found = everprof::block::deadlocks_since(Duration::ZERO);
        assert!(found.is_empty(), "{}", found[0]);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_holder_that_runs_or_may_go_on_is_no_deadlock() {
    alone("a_holder_that_runs_or_may_go_on_is_no_deadlock", || {
        let holders: [(&str, fn()); 4] = [
            ("runs", || {
                loop {
                    std::hint::spin_loop();
                }
            }),
            ("sleeps", || thread::sleep(Duration::from_secs(3600))),
            ("parks", || {
                loop {
                    thread::park();
                }
            }),
            ("accepts", || {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let _never = listener.accept();
            }),
        ];
        for (name, hold) in holders {
            elsewhere(move || {
                let lock = apart::<Mutex<()>>();
                let both = Arc::new(Barrier::new(2));
                let (theirs, meet) = (lock.clone(), both.clone());
                named(name, move || {
                    let guard = theirs.lock().unwrap();
                    meet.wait();
                    hold();
                    drop(guard);
                });
                both.wait();
                named("waits", move || drop(lock.lock().unwrap()));
            });
            never_found();
        }
    });
}

#[test]
fn who_runs_without_the_locks_makes_it_unknown() {
    alone("who_runs_without_the_locks_makes_it_unknown", || {
        elsewhere(|| ring(2));
        until_found();
        named("runs", || {
            loop {
                std::hint::spin_loop();
            }
        });
        never_found();
    });
}

#[test]
fn a_lock_in_a_static_may_be_held_by_anybody() {
    static LOCK: Mutex<()> = Mutex::new(());
    alone("a_lock_in_a_static_may_be_held_by_anybody", || {
        named("twice", || {
            let guard = LOCK.lock().unwrap();
            drop(LOCK.lock().unwrap());
            drop(guard);
        });
        never_found();
    });
}
