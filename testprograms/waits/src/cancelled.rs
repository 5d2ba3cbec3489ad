//! A C thread that is cancelled while it waits in a function of ours: also in a program
//! that is built not to unwind.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::process::exit;
use std::ptr::{null, null_mut};

/// What the C library lets a cancelled thread return: C's `PTHREAD_CANCELED`.
const CANCELED: usize = usize::MAX;

extern "C" fn in_poll(_: *mut c_void) -> *mut c_void {
    // SAFETY: no descriptors; for ever.
    unsafe { libc::poll(null_mut(), 0, -1) };
    null_mut()
}

extern "C" fn in_nanosleep(_: *mut c_void) -> *mut c_void {
    let time = libc::timespec {
        tv_sec: 1000,
        tv_nsec: 0,
    };
    // SAFETY: a valid time; the rest is not asked for.
    unsafe { libc::nanosleep(&time, null_mut()) };
    null_mut()
}

extern "C" fn in_join(sleeper: *mut c_void) -> *mut c_void {
    // SAFETY: a thread that nobody else joins meanwhile.
    unsafe { libc::pthread_join(sleeper as libc::pthread_t, null_mut()) };
    null_mut()
}

pub fn all() {
    cancelled("poll", in_poll, null_mut());
    cancelled("nanosleep", in_nanosleep, null_mut());
    let sleeper = start(in_nanosleep, null_mut());
    cancelled("join", in_join, sleeper as *mut c_void);
    end("its sleeper", sleeper);
}

type Body = extern "C" fn(*mut c_void) -> *mut c_void;

fn cancelled(name: &str, body: Body, argument: *mut c_void) {
    end(name, start(body, argument));
}

fn start(body: Body, argument: *mut c_void) -> libc::pthread_t {
    let mut thread = MaybeUninit::uninit();
    // SAFETY: the bodies above take what they are given.
    unsafe { libc::pthread_create(thread.as_mut_ptr(), null(), body, argument) };
    // SAFETY: written, unless there are no threads to be had.
    unsafe { thread.assume_init() }
}

fn end(name: &str, thread: libc::pthread_t) {
    let mut result = null_mut();
    // SAFETY: a thread of ours, not joined yet.
    unsafe { libc::pthread_cancel(thread) };
    // SAFETY: as above.
    unsafe { libc::pthread_join(thread, &mut result) };
    if result as usize != CANCELED {
        println!("{name}: not cancelled");
        exit(1);
    }
}
