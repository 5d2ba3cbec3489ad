//! Forks at awkward instants: what the child finds must be its own, and whole.
//!
//! Children run on the forking thread alone and end with `_exit`.
#![cfg(all(target_os = "linux", not(miri), not(everprof_loom)))]
#![allow(clippy::unwrap_used)]

mod child;

use std::sync::atomic::{AtomicBool, Ordering};

use child::holds_in_child;
use everprof_core::heap::{Recorder, Ticket};
use everprof_core::local::Local;
use everprof_core::store::Store;

fn private() -> Box<Store> {
    let store = Box::new(Store::new());
    Recorder::of(&store).set_period(1);
    store
}

fn shared() -> Box<Store> {
    let store = private();
    assert!(store.init_shared(memory(), LEN));
    store
}

const LEN: usize = 1 << 20;

fn memory() -> i32 {
    // SAFETY: a plain system call with a C string.
    let fd = unsafe { libc::memfd_create(c"heap_fork".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: a plain system call on a descriptor.
    assert_eq!(unsafe { libc::ftruncate(fd, LEN as libc::off_t) }, 0);
    fd
}

fn ticket<'a>(recorder: &Recorder<'a>, local: &Local, stack: u64) -> Option<Ticket<'a>> {
    local.countdown.set(-8);
    recorder.sample_with(local, 8, 1000, |out| {
        out[0] = stack;
        1
    })
}

fn allocate(recorder: &Recorder<'_>, local: &Local, address: usize) -> bool {
    ticket(recorder, local, 70)
        .map(|ticket| ticket.commit(address, 8))
        .is_some()
}

/// Samples and bytes allocated, and bytes in use.
fn totals(recorder: &Recorder<'_>) -> (u64, u64, u64) {
    let snapshot = recorder.snapshot();
    snapshot.iter().fold((0, 0, 0), |sums, bucket| {
        (
            sums.0 + bucket.alloc.samples,
            sums.1 + bucket.alloc.bytes,
            sums.2 + bucket.in_use().bytes,
        )
    })
}

#[test]
fn child_starts_clean_and_learns_the_shift_of_what_it_inherited() {
    let (store, local) = (private(), Local::new());
    let recorder = Recorder::of(&store);
    assert!(allocate(&recorder, &local, 4096));
    assert!(holds_in_child(|| {
        let shift = recorder.take(4096).map(|taken| taken.shift());
        let clean = totals(&recorder) == (0, 0, 0);
        let works = allocate(&recorder, &local, 8192) && totals(&recorder) == (1, 8, 8);
        shift == Some(8) && clean && works
    }));
    assert_eq!(totals(&recorder), (1, 8, 8));
}

/// Objects are freed by one thread of a child while another takes note.
#[test]
fn shift_is_known_while_a_child_takes_note() {
    let (store, local) = (private(), Local::new());
    let recorder = Recorder::of(&store);
    let count = 20_000;
    for n in 1..=count {
        assert!(allocate(&recorder, &local, 16 * n));
    }
    for _ in 0..20 {
        assert!(holds_in_child(|| {
            let missed = AtomicBool::new(false);
            let go = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for thread in 0..2 {
                    let (recorder, missed, go) = (&recorder, &missed, &go);
                    scope.spawn(move || {
                        while !go.load(Ordering::Relaxed) {
                            std::hint::spin_loop();
                        }
                        for n in (1..=count).filter(|n| n % 2 == thread) {
                            let shift = recorder.take(16 * n).map(|taken| taken.shift());
                            if shift != Some(8) {
                                missed.store(true, Ordering::Relaxed);
                            }
                        }
                    });
                }
                go.store(true, Ordering::Relaxed);
            });
            !missed.load(Ordering::Relaxed) && totals(&recorder) == (0, 0, 0)
        }));
    }
}

/// A handler may interrupt an allocation or a free, and fork.
#[test]
fn what_is_under_way_during_the_fork_ends_well_in_the_child() {
    let (store, local) = (private(), Local::new());
    let recorder = &Recorder::of(&store);
    assert!(allocate(recorder, &local, 4096));
    let taken = recorder.take(4096);
    let ticket = ticket(recorder, &local, 71);
    assert!(holds_in_child(move || {
        drop(taken);
        ticket.unwrap().commit(8192, 8);
        let counted = totals(recorder) == (1, 8, 8);
        drop(recorder.take(8192));
        counted && totals(recorder) == (1, 8, 0) && recorder.take(4096).is_none()
    }));
}

#[test]
fn what_is_under_way_during_the_fork_does_not_enter_tables_made_anew() {
    let (store, local) = (shared(), Local::new());
    let recorder = &Recorder::of(&store);
    assert!(allocate(recorder, &local, 4096));
    let taken = recorder.take(4096);
    // Not the first of its place and bucket, so that they lie elsewhere.
    for n in 0..200 {
        assert!(ticket(recorder, &local, 100 + n).is_some());
    }
    let ticket = ticket(recorder, &local, 71);
    assert!(holds_in_child(move || {
        drop(taken);
        ticket.unwrap().commit(8192, 0);
        let clean = totals(recorder) == (0, 0, 0);
        let mut whole = true;
        for n in 1..=100 {
            whole &= allocate(recorder, &local, 16 * n);
        }
        whole &= totals(recorder) == (100, 800, 800);
        for n in 1..=100 {
            whole &= recorder.take(16 * n).is_some();
        }
        clean && whole && totals(recorder) == (100, 800, 0)
    }));
}

/// The walk takes most of a sample's time.
#[test]
fn sample_whose_walk_is_interrupted_by_a_fork_has_no_place_in_tables_made_anew() {
    let (store, local) = (shared(), Local::new());
    let recorder = &Recorder::of(&store);
    let mut child = -1;
    local.countdown.set(-8);
    let ticket = recorder.sample_with(&local, 8, 1000, |out| {
        // SAFETY: the child goes on here on its only thread, and ends below.
        child = unsafe { libc::fork() };
        // As a handler that forks and then allocates: the child takes note.
        let _ = totals(recorder);
        out[0] = 71;
        1
    });
    ticket.unwrap().commit(8192, 0);
    let is_there = recorder.take(8192).is_some();
    if child == 0 {
        let mut whole = !is_there && totals(recorder) == (0, 0, 0);
        for n in 1..=100 {
            whole &= allocate(recorder, &local, 16 * n);
        }
        whole &= totals(recorder) == (100, 800, 800);
        // SAFETY: ends the child without running anybody's destructors.
        unsafe { libc::_exit(i32::from(!whole)) };
    }
    let mut status = -1;
    // SAFETY: waits for the child made above.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((ended, status), (child, 0));
    assert!(is_there);
}

#[test]
fn child_of_a_shared_recorder_moves_to_a_file_of_its_own() {
    let (store, local) = (shared(), Local::new());
    let recorder = Recorder::of(&store);
    assert!(allocate(&recorder, &local, 4096));
    let file = memory();
    assert!(holds_in_child(|| {
        let moved = store.move_to(file, LEN) && totals(&recorder) == (0, 0, 0);
        moved && allocate(&recorder, &local, 4096) && totals(&recorder) == (1, 8, 8)
    }));
    assert_eq!(totals(&recorder), (1, 8, 8));
}

#[test]
fn file_that_cannot_be_moved_to_leaves_a_private_recorder() {
    let (store, local) = (shared(), Local::new());
    let recorder = Recorder::of(&store);
    assert!(holds_in_child(|| {
        let refused = !store.move_to(-1, LEN);
        refused && allocate(&recorder, &local, 4096) && totals(&recorder) == (1, 8, 8)
    }));
    assert_eq!(totals(&recorder), (0, 0, 0));
}

/// Another thread makes the tables while this one forks: the child has no such
/// thread. Repeated, as the instant cannot be chosen from here.
#[test]
fn child_forked_while_the_tables_are_made_makes_its_own() {
    for delay in 0..100u32 {
        let store = private();
        let recorder = Recorder::of(&store);
        let go = AtomicBool::new(false);
        let held = std::thread::scope(|scope| {
            let (recorder, store, go) = (&recorder, &store, &go);
            scope.spawn(move || {
                while !go.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                store.prepare();
            });
            go.store(true, Ordering::Release);
            for _ in 0..delay * 100 {
                std::hint::spin_loop();
            }
            holds_in_child(|| {
                let local = Local::new();
                allocate(recorder, &local, 4096) && allocate(recorder, &local, 8192)
            })
        });
        assert!(held, "after {delay}");
    }
}
