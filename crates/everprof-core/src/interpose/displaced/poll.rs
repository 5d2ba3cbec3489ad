//! Waiting for one of many descriptors. A call that may not wait goes straight through.
//!
//! Context: signal. Invariant: see `interpose`; all of these are points of cancellation.

use core::ffi::c_int;

use libc::{epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

use super::io;
use super::next::{Function3, Function4, Function5, Next};
use crate::stack::Registers;
use crate::waits::{self, Operation};

type Sets = *mut fd_set;

static POLL: Next<Function3<*mut pollfd, nfds_t, c_int, c_int>> = Next::by_errno(c"poll");
static PPOLL: Next<Function4<*mut pollfd, nfds_t, *const timespec, *const sigset_t, c_int>> =
    Next::by_errno(c"ppoll");
static SELECT: Next<Function5<c_int, Sets, Sets, Sets, *mut timeval, c_int>> =
    Next::by_errno(c"select");
static EPOLL_WAIT: Next<Function4<c_int, *mut epoll_event, c_int, c_int, c_int>> =
    Next::by_errno(c"epoll_wait");
static EPOLL_PWAIT: Next<Function5<c_int, *mut epoll_event, c_int, c_int, *const sigset_t, c_int>> =
    Next::by_errno(c"epoll_pwait");

/// At least one descriptor is ready; 0 says that the time is over.
const READY: isize = 1;

pub(super) fn resolve() {
    POLL.look_up();
    PPOLL.look_up();
    SELECT.look_up();
    EPOLL_WAIT.look_up();
    EPOLL_PWAIT.look_up();
}

/// C's `poll`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn poll(fds: *mut pollfd, count: nfds_t, timeout_millis: c_int) -> c_int {
    let next = POLL.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(fds, count, timeout_millis) };
    if timeout_millis == 0 || !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    let timed = timeout_millis > 0;
    io(timed, &Registers::here(), || call() as isize, READY) as c_int
}

/// C's `ppoll`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let next = PPOLL.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(fds, count, timeout, mask) };
    if !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    let timed = !timeout.is_null();
    io(timed, &Registers::here(), || call() as isize, READY) as c_int
}

/// C's `select`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn select(
    count: c_int,
    read: Sets,
    write: Sets,
    except: Sets,
    timeout: *mut timeval,
) -> c_int {
    let next = SELECT.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(count, read, write, except, timeout) };
    if !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    let timed = !timeout.is_null();
    io(timed, &Registers::here(), || call() as isize, READY) as c_int
}

/// C's `epoll_wait`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout_millis: c_int,
) -> c_int {
    let next = EPOLL_WAIT.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(epoll, events, count, timeout_millis) };
    if timeout_millis == 0 || !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    let timed = timeout_millis > 0;
    io(timed, &Registers::here(), || call() as isize, READY) as c_int
}

/// C's `epoll_pwait`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout_millis: c_int,
    mask: *const sigset_t,
) -> c_int {
    let next = EPOLL_PWAIT.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(epoll, events, count, timeout_millis, mask) };
    if timeout_millis == 0 || !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    let timed = timeout_millis > 0;
    io(timed, &Registers::here(), || call() as isize, READY) as c_int
}
