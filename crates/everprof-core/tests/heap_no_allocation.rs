//! Nothing in the sampled path allocates: an allocator that aborts where it is
//! asked for anything meanwhile.
//!
//! Not a check in every debug build: there a signal handler of the program may
//! rightly allocate while a recorder is at work. Here is none.
#![cfg(all(target_os = "linux", not(miri), not(everprof_loom)))]
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Mutex;

use everprof_core::heap::{Recorder, Ticket};
use everprof_core::local::{self, Local};
use everprof_core::lost::Lost;
use everprof_core::stack::{self, Registers};
use everprof_core::store::Store;
use everprof_core::waits;

struct Watched;

#[global_allocator]
static ALLOC: Watched = Watched;

thread_local! {
    static FORBIDDEN: Cell<bool> = const { Cell::new(false) };
}

impl Watched {
    fn check() {
        if FORBIDDEN.get() {
            let words = b"an allocation in the sampled path\n";
            // SAFETY: writes these bytes, without allocating.
            unsafe { libc::write(2, words.as_ptr().cast(), words.len()) };
            std::process::abort();
        }
    }
}

// SAFETY: the system's allocator, asked with the caller's own arguments.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::check();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        Self::check();
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(object, layout) }
    }
}

/// Does `work` with every allocation, and every free, an abort.
fn strictly<T>(work: impl FnOnce() -> T) -> T {
    FORBIDDEN.set(true);
    let result = work();
    FORBIDDEN.set(false);
    result
}

/// How a child of this process ends that does `work` strictly.
fn status_of_child(work: impl FnOnce()) -> i32 {
    // SAFETY: the child does `work`, which no other thread has a part in, and ends.
    let process = unsafe { libc::fork() };
    assert!(process >= 0, "fork");
    if process == 0 {
        strictly(work);
        // SAFETY: as `work` may do, ends the child without running anybody's destructors.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(process, &raw mut status, 0) };
    status
}

fn store() -> Box<Store> {
    let store = Box::new(Store::new());
    Recorder::of(&store).set_period(1);
    store
}

/// A sample with this very stack, as an allocation takes it.
fn sample<'a>(recorder: &Recorder<'a>) -> Option<Ticket<'a>> {
    local::with(|local| local.countdown.set(-8));
    recorder.sample(8, &Registers::here())
}

/// An object of a made-up stack comes to stand at `address`.
fn allocate(recorder: &Recorder<'_>, local: &Local, stack: u64, address: usize) {
    local.countdown.set(-8);
    let capture = |out: &mut [u64]| {
        out[0] = stack;
        1
    };
    if let Some(ticket) = recorder.sample_with(local, 8, 1000, capture) {
        ticket.commit(address, 0);
    }
}

#[inline(never)]
fn recurse(depth: usize, leaf: &mut dyn FnMut()) {
    if depth == 0 {
        leaf();
    } else {
        recurse(depth - 1, leaf);
    }
    black_box(&depth);
}

/// Samples lost for `why`.
fn lost(recorder: &Recorder<'_>, why: Lost) -> u64 {
    let snapshot = recorder.snapshot();
    let of_why = snapshot.iter().filter(|bucket| bucket.stack == [why.pc()]);
    of_why.map(|bucket| bucket.alloc.samples).sum()
}

#[test]
fn allocation_that_is_forbidden_aborts() {
    let status = status_of_child(|| drop(black_box(Box::new(1))));
    assert!(libc::WIFSIGNALED(status));
    assert_eq!(libc::WTERMSIG(status), libc::SIGABRT);
}

#[test]
fn first_sample_and_its_free_allocate_nothing() {
    let store = store();
    let recorder = Recorder::of(&store);
    let in_use = strictly(|| {
        sample(&recorder).unwrap().commit(4096, 8);
        let in_use = recorder.may_be_sampled(4096);
        recorder.take(4096).unwrap().restore();
        drop(recorder.take(4096));
        // The inner allocator refused.
        drop(sample(&recorder));
        in_use
    });
    assert!(in_use);
}

#[test]
fn waits_and_wakes_allocate_nothing() {
    let store = store();
    let recorder = waits::Recorder::of(&store);
    recorder.set_block_period(1);
    recorder.set_mutex_period(1);
    // Of more addresses than there are places, one within another, and chains of wakes.
    strictly(|| {
        for n in 0..10_000 {
            let mut begun = [waits::Begun::NOTHING; 3];
            let wait = |level: usize| waits::Wait {
                operation: waits::Operation::Futex,
                address: (n % 7_000 + level + 1) * 64,
                timed: false,
            };
            for (level, begun) in begun.iter_mut().enumerate() {
                let here = Registers::here();
                let registers = Registers {
                    sp: here.sp - 64 * level as u64,
                    ..here
                };
                recorder.begin(&wait(level), &registers, begun);
            }
            for level in 0..3 {
                if let Some(charged) = recorder.before_wake(wait(level).address) {
                    recorder.after_wake(&charged, &Registers::here(), 1);
                }
            }
            for (level, begun) in begun.iter().enumerate().rev() {
                let ended = waits::Ended::Woken;
                recorder.end(&wait(level), &Registers::here(), begun, ended);
            }
            recorder.requeued(64, 128, 1, 1);
        }
    });
    let waits: u64 = recorder
        .block()
        .iter()
        .map(|bucket| bucket.waits.samples)
        .sum();
    assert_eq!(waits, 30_000);
}

/// `depth_limit` is the process's.
static DEPTH: Mutex<()> = Mutex::new(());

#[test]
fn stacks_of_any_depth_allocate_nothing() {
    let _lock = DEPTH.lock().unwrap();
    let store = store();
    let recorder = Recorder::of(&store);
    for limit in [1, 128, 1024] {
        stack::set_depth_limit(limit);
        for depth in [0, 50, 1500] {
            recurse(depth, &mut || {
                strictly(|| sample(&recorder).unwrap().commit(8192, 0));
            });
        }
    }
    stack::set_depth_limit(stack::DEFAULT_DEPTH);
}

#[test]
fn full_tables_allocate_nothing() {
    let (store, local) = (store(), Local::new());
    let recorder = Recorder::of(&store);
    assert!(store.set_memory_limit(1 << 20));
    strictly(|| {
        for n in 1..200_000 {
            allocate(&recorder, &local, 5000 + n as u64, 16 * n);
        }
    });
    // Ones that end in both ways of having no room, and thinned ones in between.
    assert!(lost(&recorder, Lost::TableFull) > 0);
}

#[test]
fn objects_without_a_place_allocate_nothing() {
    let (store, local) = (store(), Local::new());
    let recorder = Recorder::of(&store);
    assert!(store.set_memory_limit(1 << 20));
    strictly(|| {
        for n in 1..200_000 {
            allocate(&recorder, &local, 5000, 16 * n);
        }
        for n in 1..200_000 {
            drop(recorder.take(16 * n));
        }
    });
}

// qemu's user emulation takes such a limit and keeps none, or it would have to keep it itself.
#[cfg(not(everprof_emulated))]
#[test]
fn memory_that_cannot_be_had_allocates_nothing() {
    let store = store();
    let recorder = Recorder::of(&store);
    let status = status_of_child(|| {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a plain system call; this process maps nothing more.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const none) } == 0;
        let recorded = sample(&recorder).is_some() || sample(&recorder).is_some();
        // SAFETY: ends the child without running anybody's destructors.
        unsafe { libc::_exit(i32::from(recorded || !limited)) };
    });
    assert_eq!(status, 0);
}

#[test]
fn sample_within_a_sample_allocates_nothing() {
    let (store, local) = (store(), Local::new());
    let recorder = Recorder::of(&store);
    store.prepare();
    let inner_was_recorded = strictly(|| {
        let mut inner_was_recorded = true;
        local.countdown.set(-8);
        let ticket = recorder.sample_with(&local, 8, 1000, |out| {
            // As a handler does whose frames lie below.
            local.countdown.set(-8);
            let inner = recorder.sample_with(&local, 8, 900, |_| 0);
            inner_was_recorded = inner.is_some();
            out[0] = 5000;
            1
        });
        ticket.unwrap().commit(4096, 0);
        inner_was_recorded
    });
    assert!(!inner_was_recorded);
    assert_eq!(lost(&recorder, Lost::Reentry), 1);
}

#[test]
fn child_that_takes_note_allocates_nothing() {
    let (store, local) = (store(), Local::new());
    let recorder = Recorder::of(&store);
    allocate(&recorder, &local, 5000, 4096);
    let status = status_of_child(|| {
        drop(recorder.take(4096));
        allocate(&recorder, &local, 5000, 8192);
    });
    assert_eq!(status, 0);
}

#[test]
fn tables_that_others_see_allocate_nothing() {
    // SAFETY: a plain system call with a C string.
    let fd = unsafe { libc::memfd_create(c"heap_no_allocation".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: a plain system call on a descriptor.
    assert_eq!(unsafe { libc::ftruncate(fd, 1 << 20) }, 0);
    let store = store();
    let recorder = Recorder::of(&store);
    let made = strictly(|| {
        let made = store.init_shared(fd, 1 << 20);
        // The modules of this stack are copied into them.
        sample(&recorder).unwrap().commit(4096, 0);
        drop(recorder.take(4096));
        made
    });
    assert!(made);
    let status = status_of_child(|| sample(&recorder).unwrap().commit(4096, 0));
    assert_eq!(status, 0);
}
