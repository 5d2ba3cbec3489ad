//! How much stack a sample takes: it may be due on the smallest there are, of
//! 16 KiB. Measured: 3.3 KiB for a first sample, 2.1 KiB for later ones; the same
//! for a first wait with the wake that ends it, and for later ones. (A sample that makes
//! its stack known takes 2.9 KiB, by the sizes of frames.)
#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(everprof_loom)
))]
#![allow(clippy::unwrap_used)]

use std::ffi::c_void;
use std::ptr;

use everprof_core::heap::Recorder;
use everprof_core::local;
use everprof_core::stack::Registers;
use everprof_core::store::Store;
use everprof_core::waits::{self, Begun, Ended, Operation, Wait};

const STACK_BYTES: usize = 256 * 1024;
const PAINT: u8 = 0xa5;

/// Runs `start` on a painted stack; how many bytes of it were written.
fn painted_run(start: extern "C" fn(*mut c_void) -> *mut c_void, argument: *mut c_void) -> usize {
    let stack = vec![PAINT; STACK_BYTES + 4096];
    let base = stack.as_ptr() as usize;
    let base = base.next_multiple_of(4096) as *mut c_void;
    // SAFETY: a pthread_attr_t is made of integers.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: an integer, or a pointer that may be null; filled below.
    let mut thread: libc::pthread_t = unsafe { std::mem::zeroed() };
    // SAFETY: `attributes` is ours.
    assert_eq!(unsafe { libc::pthread_attr_init(&raw mut attributes) }, 0);
    // SAFETY: the stack outlives the thread, which is joined below.
    let set = unsafe { libc::pthread_attr_setstack(&raw mut attributes, base, STACK_BYTES) };
    assert_eq!(set, 0);
    // SAFETY: `start` takes `argument`, which outlives the thread.
    let made =
        unsafe { libc::pthread_create(&raw mut thread, &raw const attributes, start, argument) };
    assert_eq!(made, 0);
    // SAFETY: the thread made above, joined once.
    assert_eq!(unsafe { libc::pthread_join(thread, ptr::null_mut()) }, 0);
    let skip = base as usize - stack.as_ptr() as usize;
    let untouched = stack[skip..].iter().take_while(|byte| **byte == PAINT);
    STACK_BYTES - untouched.count()
}

extern "C" fn idle(_: *mut c_void) -> *mut c_void {
    local::with(|local| local.countdown.set(0));
    ptr::null_mut()
}

/// As the least of what a sampled allocation and its free do.
extern "C" fn work(store: *mut c_void) -> *mut c_void {
    // SAFETY: the test's own, which outlives the thread.
    let store = unsafe { &*store.cast::<Store>() };
    let recorder = Recorder::of(store);
    local::with(|local| local.countdown.set(-8));
    let ticket = recorder.sample(8, &Registers::here());
    if let Some(ticket) = ticket {
        ticket.commit(4096, 8);
    }
    drop(recorder.take(4096));
    ptr::null_mut()
}

/// A wait that is captured before it, and a wake that is recorded.
extern "C" fn wait(store: *mut c_void) -> *mut c_void {
    // SAFETY: the test's own, which outlives the thread.
    let store = unsafe { &*store.cast::<Store>() };
    let recorder = waits::Recorder::of(store);
    let wait = Wait {
        operation: Operation::Futex,
        address: 0x40,
        timed: false,
    };
    let mut begun = Begun::NOTHING;
    recorder.begin(&wait, &Registers::here(), &mut begun);
    if let Some(charged) = recorder.before_wake(wait.address) {
        recorder.after_wake(&charged, &Registers::here(), 1);
    }
    recorder.end(&wait, &Registers::here(), &begun, Ended::Woken);
    ptr::null_mut()
}

#[test]
fn wait_takes_no_more_stack_than_a_sample() {
    let store = Box::new(Store::new());
    let recorder = waits::Recorder::of(&store);
    recorder.set_block_period(1);
    recorder.set_mutex_period(1);
    let argument = ptr::from_ref(&*store).cast_mut().cast();
    for _ in 0..2 {
        let bytes = painted_run(wait, argument) - painted_run(idle, argument);
        println!("{bytes} bytes of stack");
        let most = if cfg!(debug_assertions) { 24 } else { 8 } * 1024;
        assert!(bytes < most, "{bytes}");
    }
    assert_eq!(recorder.block().iter().count(), 1);
}

#[test]
fn sample_takes_at_most_half_of_the_smallest_stack() {
    let store = Box::new(Store::new());
    let recorder = Recorder::of(&store);
    recorder.set_period(1);
    let argument = ptr::from_ref(&*store).cast_mut().cast();
    // The first makes the tables and looks all rules up.
    for _ in 0..2 {
        let bytes = painted_run(work, argument) - painted_run(idle, argument);
        println!("{bytes} bytes of stack");
        // Without optimisation, where frames are several times as large, 14.
        let most = if cfg!(debug_assertions) { 24 } else { 8 } * 1024;
        assert!(bytes < most, "{bytes}");
    }
    assert_eq!(recorder.snapshot().iter().count(), 1);
}
