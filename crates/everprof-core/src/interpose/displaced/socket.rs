//! Waiting for one socket: data, a connection, a peer.
//!
//! Context: signal. Invariant: see `interpose`; all of these are points of cancellation.
//!
//! `read` and `write` are not here: nearly all of their calls wait for nothing, and
//! whether a descriptor could wait costs a system call to ask. Nor is `send`, which waits
//! only when its peer does not read.

use core::ffi::{c_int, c_void};

use libc::{msghdr, sockaddr, socklen_t, ssize_t};

use super::io;
use super::next::{Function3, Function4, Function6, Next};
use crate::stack::Registers;
use crate::waits::{self, Operation};

static RECV: Next<Function4<c_int, *mut c_void, usize, c_int, ssize_t>> = Next::by_errno(c"recv");
static RECVFROM: Next<
    Function6<c_int, *mut c_void, usize, c_int, *mut sockaddr, *mut socklen_t, ssize_t>,
> = Next::by_errno(c"recvfrom");
static RECVMSG: Next<Function3<c_int, *mut msghdr, c_int, ssize_t>> = Next::by_errno(c"recvmsg");
static ACCEPT: Next<Function3<c_int, *mut sockaddr, *mut socklen_t, c_int>> =
    Next::by_errno(c"accept");
static ACCEPT4: Next<Function4<c_int, *mut sockaddr, *mut socklen_t, c_int, c_int>> =
    Next::by_errno(c"accept4");
static CONNECT: Next<Function3<c_int, *const sockaddr, socklen_t, c_int>> =
    Next::by_errno(c"connect");

/// Anything but an error: no data is the peer's last word, 0 a descriptor.
const DONE: isize = 0;

pub(super) fn resolve() {
    RECV.look_up();
    RECVFROM.look_up();
    RECVMSG.look_up();
    ACCEPT.look_up();
    ACCEPT4.look_up();
    CONNECT.look_up();
}

/// C's `recv`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recv(
    socket: c_int,
    buffer: *mut c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    let next = RECV.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(socket, buffer, len, flags) };
    if flags & libc::MSG_DONTWAIT != 0 || !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    io(false, &Registers::here(), call, DONE)
}

/// C's `recvfrom`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvfrom(
    socket: c_int,
    buffer: *mut c_void,
    len: usize,
    flags: c_int,
    peer: *mut sockaddr,
    peer_len: *mut socklen_t,
) -> ssize_t {
    let next = RECVFROM.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(socket, buffer, len, flags, peer, peer_len) };
    if flags & libc::MSG_DONTWAIT != 0 || !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    io(false, &Registers::here(), call, DONE)
}

/// C's `recvmsg`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvmsg(socket: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let next = RECVMSG.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(socket, message, flags) };
    if flags & libc::MSG_DONTWAIT != 0 || !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    io(false, &Registers::here(), call, DONE)
}

/// C's `accept`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn accept(
    socket: c_int,
    peer: *mut sockaddr,
    peer_len: *mut socklen_t,
) -> c_int {
    let next = ACCEPT.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(socket, peer, peer_len) };
    if !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    io(false, &Registers::here(), || call() as isize, DONE) as c_int
}

/// Linux's `accept4`, with which std accepts.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn accept4(
    socket: c_int,
    peer: *mut sockaddr,
    peer_len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let next = ACCEPT4.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(socket, peer, peer_len, flags) };
    if !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    io(false, &Registers::here(), || call() as isize, DONE) as c_int
}

/// C's `connect`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn connect(
    socket: c_int,
    peer: *const sockaddr,
    peer_len: socklen_t,
) -> c_int {
    let next = CONNECT.get();
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    let call = || unsafe { next(socket, peer, peer_len) };
    if !waits::wants(Operation::Io) {
        return waits::sleeping(call);
    }
    io(false, &Registers::here(), || call() as isize, DONE) as c_int
}
