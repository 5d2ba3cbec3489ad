//! Dumps while threads are born and die, and while the program forks.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]
// What the kernel tells of an emulated thread that sleeps are the emulator's registers.
#![cfg_attr(everprof_emulated, allow(dead_code, unused_imports))]

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use std::{hint, panic, thread};

use everprof_core::stack::StackEnd;
use everprof_core::threads::{Dump, Missing, Source, collect};

const PATIENCE: Duration = Duration::from_secs(20);

/// Set when it is dropped, so that a failure does not wait for threads that go on.
struct Stop(AtomicBool);

impl Stop {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets it.
struct SetOnDrop<'s>(&'s Stop);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

fn this_thread() -> u32 {
    // SAFETY: takes no argument.
    unsafe { libc::gettid() }.cast_unsigned()
}

/// What holds of every dump, whatever the program does.
#[track_caller]
fn assert_sound(dump: &Dump) {
    assert!(dump.is_supported());
    let mut ids = HashSet::new();
    for thread in dump.iter() {
        assert!(ids.insert(thread.id), "twice: {thread:?}");
        assert!(!thread.stack.contains(&0));
        match thread.source {
            Source::Missing(_) => assert!(thread.stack.is_empty()),
            _ => assert!(!thread.stack.is_empty(), "{thread:?}"),
        }
    }
    let this = this_thread();
    assert!(ids.contains(&this));
}

/// Threads that work for some 100 µs, in allocations, panics and sleeps, and end.
fn churn(stop: &Stop) {
    let mut turn = 0_u32;
    while !stop.is_set() {
        turn += 1;
        let threads: Vec<_> = (0..4)
            .map(|index| {
                thread::spawn(move || match (turn + index) % 5 {
                    0 => thread::sleep(Duration::from_micros(100)),
                    1 => drop(hint::black_box(vec![0_u8; 100_000])),
                    2 => {
                        let caught = panic::catch_unwind(|| panic::resume_unwind(Box::new(1)));
                        assert!(caught.is_err());
                    }
                    3 => drop(thread::spawn(thread::yield_now)),
                    _ => {}
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

// An emulator's: see above.
#[cfg(not(everprof_emulated))]
#[test]
fn threads_that_stay_are_whole_while_others_are_born_and_die() {
    const STAYING: usize = 20;
    let stop = Stop(AtomicBool::new(false));
    let gate = Mutex::new(());
    let closed = gate.lock().unwrap();
    let (tell, told) = channel();
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        // First, so that the kernel's list has threads that end before those that stay.
        for _ in 0..2 {
            scope.spawn(|| churn(&stop));
        }
        for _ in 0..STAYING {
            let (tell, gate) = (tell.clone(), &gate);
            scope.spawn(move || {
                tell.send(this_thread()).unwrap();
                drop(gate.lock());
            });
        }
        let staying: HashSet<u32> = (0..STAYING).map(|_| told.recv().unwrap()).collect();
        let until = Instant::now() + Duration::from_secs(10);
        let (mut dumps, mut complete, mut exited, mut seen) = (0, 0, 0, 0);
        while Instant::now() < until {
            let dump = collect(PATIENCE);
            assert_sound(&dump);
            dumps += 1;
            complete += u32::from(dump.is_complete());
            seen += dump.len();
            let mut found = 0;
            for thread in dump.iter() {
                if staying.contains(&thread.id) {
                    found += 1;
                    // Where the C library has tables: musl's own code has none.
                    let whole = thread.end == StackEnd::Root || cfg!(target_env = "musl");
                    assert!(whole, "{thread:?}");
                }
                match thread.source {
                    Source::Missing(Missing::Exited) => exited += 1,
                    // A thread blocks all signals in its first and last moments.
                    Source::Missing(Missing::SignalBlocked) => {}
                    Source::Missing(missing) => panic!("{missing:?}: {thread:?}"),
                    _ => {}
                }
            }
            assert_eq!(found, STAYING);
        }
        println!("{dumps} dumps, {complete} complete, {seen} threads, {exited} exited meanwhile");
        assert!(complete > 0);
        drop(closed);
    });
}

/// After Go's TestGoroutineProfileConcurrency: who was there before another that is seen
/// is seen as well.
#[test]
fn a_thread_that_is_seen_implies_all_older_ones() {
    let stop = Stop(AtomicBool::new(false));
    let (stop, born, gate) = (&stop, &Mutex::new(Vec::new()), &Mutex::new(()));
    thread::scope(|scope| {
        let _stop = SetOnDrop(stop);
        let closed = gate.lock().unwrap();
        let births = scope.spawn(move || {
            while !stop.is_set() && born.lock().unwrap().len() < 300 {
                let (tell, told) = channel();
                scope.spawn(move || {
                    tell.send(this_thread()).unwrap();
                    drop(gate.lock());
                });
                // One after the other, so that the order of birth is known.
                born.lock().unwrap().push(told.recv().unwrap());
            }
        });
        while !births.is_finished() {
            let before = born.lock().unwrap().len();
            let dump = collect(PATIENCE);
            assert_sound(&dump);
            let seen: HashSet<u32> = dump.iter().map(|thread| thread.id).collect();
            let born = born.lock().unwrap();
            let last = born.iter().rposition(|id| seen.contains(id));
            let expected = last.map_or(0, |last| last + 1).max(before);
            if dump.is_complete() {
                for id in &born[..expected] {
                    assert!(seen.contains(id), "{id} of {expected}");
                }
            }
        }
        drop(closed);
    });
}

// An emulator's: see above.
#[cfg(not(everprof_emulated))]
#[test]
fn a_forked_child_dumps_itself_though_its_parent_was_at_it() {
    let stop = Stop(AtomicBool::new(false));
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.is_set() {
                    assert_sound(&collect(PATIENCE));
                }
            });
        }
        for _ in 0..50 {
            // SAFETY: the child has one thread, and glibc and musl leave it an allocator
            // that works. It dumps and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let dump = collect(PATIENCE);
                let alone = dump.len() == 1 && dump.is_complete();
                // SAFETY: ends the child without running anybody's destructors.
                unsafe { libc::_exit(i32::from(!alone)) };
            }
            let mut status = 0;
            // SAFETY: waits for the child made above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0);
        }
    });
}

/// Threads with the smallest stacks: a handler's walk needs little.
#[test]
fn threads_with_little_stack_are_asked() {
    static ALIVE: AtomicU32 = AtomicU32::new(0);
    let stop = Stop(AtomicBool::new(false));
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for _ in 0..4 {
            thread::Builder::new()
                .name("small".into())
                .stack_size(64 << 10)
                .spawn_scoped(scope, || {
                    ALIVE.fetch_add(1, Ordering::SeqCst);
                    while !stop.is_set() {
                        hint::spin_loop();
                    }
                })
                .unwrap();
        }
        while ALIVE.load(Ordering::SeqCst) != 4 {
            thread::yield_now();
        }
        for _ in 0..20 {
            let dump = collect(PATIENCE);
            let small: Vec<_> = dump
                .iter()
                .filter(|thread| thread.name == b"small")
                .collect();
            for thread in &small {
                assert!(
                    matches!(thread.source, Source::Signalled { .. }),
                    "{thread:?}"
                );
                assert_eq!(thread.end, StackEnd::Root);
            }
            assert_eq!(small.len(), 4);
        }
    });
}
/// Goes ten frames down and does `leaf` there; frames of 2 × `ROOM` words.
#[cfg(all(target_env = "gnu", not(everprof_sanitizer = "address")))]
#[inline(never)]
fn down<const ROOM: usize>(depth: u32, leaf: &mut dyn FnMut()) {
    let mut room = [[0_u64; 2]; ROOM];
    hint::black_box(&mut room);
    if depth == 0 {
        leaf();
    } else {
        down::<ROOM>(depth - 1, leaf);
    }
    hint::black_box(&mut room);
}

/// The return address that a stack has most often: that of the recursion.
#[cfg(all(target_env = "gnu", not(everprof_sanitizer = "address")))]
fn most_frequent(stack: &[u64]) -> u64 {
    let times = |entry: &u64| stack.iter().filter(|&other| other == entry).count();
    stack.iter().copied().max_by_key(times).unwrap()
}

// Of a thread asleep in musl's code, which has no tables, only the leaf is known, and behind
// AddressSanitizer's `nanosleep` little more.
#[cfg(all(target_env = "gnu", not(everprof_sanitizer = "address")))]
// An emulator's: see above.
#[cfg(not(everprof_emulated))]
#[test]
fn a_stack_is_of_one_moment() {
    let stop = Stop(AtomicBool::new(false));
    let (tell, told) = channel();
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        let stop = &stop;
        scope.spawn(move || {
            let here = || {
                let dump = collect(PATIENCE);
                let this = this_thread();
                let thread = dump.iter().find(|thread| thread.id == this).unwrap();
                most_frequent(thread.stack)
            };
            let mut marks = [0; 2];
            down::<1>(10, &mut || marks[0] = here());
            down::<9>(10, &mut || marks[1] = here());
            tell.send((this_thread(), marks)).unwrap();
            // As long as the kernel makes it at least: some 50 µs.
            let short = libc::timespec {
                tv_sec: 0,
                tv_nsec: 1,
            };
            let mut sleep = || {
                // SAFETY: a valid time; the rest is not asked for.
                unsafe { libc::nanosleep(&raw const short, std::ptr::null_mut()) };
            };
            while !stop.is_set() {
                down::<1>(10, &mut sleep);
                down::<9>(10, &mut sleep);
            }
        });
        let (id, [small, large]) = told.recv().unwrap();
        assert_ne!(small, large);
        let until = Instant::now() + Duration::from_secs(2);
        let mut seen = [0; 3];
        // Where a dump takes a second (a sanitizer, a busy machine) two seconds show little.
        while Instant::now() < until || (seen[0] == 0 || seen[1] == 0) && seen[1] + seen[0] < 100 {
            let dump = collect(PATIENCE);
            let thread = dump.iter().find(|thread| thread.id == id).unwrap();
            let smalls = thread.stack.iter().filter(|&&entry| entry == small).count();
            let larges = thread.stack.iter().filter(|&&entry| entry == large).count();
            match (smalls, larges) {
                (10, 0) => seen[0] += 1,
                (0, 10) => seen[1] += 1,
                // On its way down or up, asked.
                (_, 0) | (0, _) if matches!(thread.source, Source::Signalled { .. }) => {
                    seen[2] += 1
                }
                _ => panic!("{smalls} and {larges}: {thread:x?}"),
            }
        }
        println!("{seen:?}");
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    });
}
