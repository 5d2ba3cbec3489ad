//! Claims about who may hold a lock: a thread that has its address, but where it asks who does.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::io::{PipeReader, pipe};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Sender, channel};

use super::*;

/// So far from all else that no other word is near the lock.
const ROOM: usize = 1 << 20;

/// Where a thread has the lock's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    Above,
    Below,
}

/// A thread that has the address, asks, and sleeps until nobody has the other end any more.
#[inline(never)]
fn asks(lock: LockAddress, has: Has, told: &Sender<WhoAsks>, end: &PipeReader) {
    match has {
        Has::Above => {
            let words = [lock.get(); 4];
            black_box(&words);
            WhoAsks::this_thread(|asker| rests(asker, None, told, end));
            black_box(&words);
        }
        Has::Below => WhoAsks::this_thread(|asker| rests(asker, Some(lock), told, end)),
    }
}

#[inline(never)]
fn rests(asker: WhoAsks, lock: Option<LockAddress>, told: &Sender<WhoAsks>, end: &PipeReader) {
    let words = lock.map(|lock| [lock.get(); 4]);
    black_box(&words);
    told.send(asker).unwrap();
    let mut byte = 0_u8;
    let at = (&raw mut byte).cast();
    // SAFETY: one byte of ours.
    spilled::around(|| unsafe { libc::read(end.as_raw_fd(), at, 1) });
    black_box(&words);
}

/// Whether the thread is one of those that may hold the lock, as `asker` is told.
fn may_hold(lock: LockAddress, thread: WhoAsks, asker: WhoAsks) -> bool {
    loop {
        let standing = Standing::look(0, asker).unwrap();
        let index = standing.threads().position(|t| t.id == thread.tid);
        let holders = standing.may_hold(&[lock]).swap_remove(0);
        // It may yet have to fall asleep, and other tests' threads come and go.
        if let (Some(index), Some(holders)) = (index, holders)
            && standing.is_still(index)
        {
            return holders.contains(&index);
        }
        std::thread::yield_now();
    }
}

// qemu's user emulation has no `process_vm_readv`.
#[cfg(not(everprof_emulated))]
#[test]
fn address_on_the_stack_of_who_asks_counts_above_the_question_and_not_below() {
    let mapped = sys::map_private(ROOM).unwrap();
    let lock = LockAddress::new((mapped.addr().get() + ROOM / 2) as u64);
    for has in [Has::Above, Has::Below] {
        let (end, hold) = pipe().unwrap();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || asks(lock, has, &tell, &end));
        let asker = told.recv().unwrap();
        assert_eq!(may_hold(lock, asker, asker), has == Has::Above, "{has:?}");
        // Asked by another one, it is a thread like any.
        WhoAsks::this_thread(|other| assert!(may_hold(lock, asker, other), "{has:?}"));
        drop(hold);
        thread.join().unwrap();
    }
    // SAFETY: the whole mapping made above, which nobody uses.
    unsafe { sys::unmap(mapped, ROOM) };
}
