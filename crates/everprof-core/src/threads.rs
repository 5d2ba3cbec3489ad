//! Threads: what each is doing now. Walks them, keeps nothing.
//!
//! Context: cold; signal in `threads/asked.rs` where it says so. No thread is stopped.
//! Invariant: every thread that existed when [`collect`] began and still does when it
//! ends is in the dump, with a stack or with the reason why it has none ([`Missing`]);
//! a thread that is in it implies all older ones.
//!
//! ```text
//! collect ─→ turn       overlapping requests queue, and those that queue share
//!          ─→ linux ─→ tasks    who is there; what the kernel says
//!                  ─→ names     read again only of those that have run
//!                  ─→ blocked   in a wait that is recorded: where its stack is, is known
//!                  ─→ look      asleep: stack read from outside, nobody disturbed
//!                  ─→ asked     running: signalled, walks itself into a slot
//!                  ─→ sends     not before `exec`, which forgets the handler
//!          ─→ dump       the values that come of it
//! ```
//!
//! Why a thread that sleeps is not signalled: a handler ends some system calls with
//! EINTR, SA_RESTART or not (`calls` has the list). Nearly all threads of a
//! server sleep, and a sleeping thread's stack stands still: the kernel tells its
//! stack pointer and pc, and the words are copied out (`stack/outside`). That it slept
//! all the while is known from its processor time, which must not have grown.
//!
//! Why a thread that runs is not signalled at once: the kernel calls it running from
//! the moment that it is woken, when it is still inside of its call. It is looked at
//! again until it sleeps, or has spent 200 µs of processor time without a sleep in
//! between, so that it must have left that call and is in no hurry to enter the next.
//! Then it is asked. Between the last look and the signal are some microseconds in which
//! it may enter one after all: that cannot be had (docs/threads.md).
//!
//! Source: Go's goroutine profile for what a dump promises (runtime/mprof.go,
//! `goroutineProfileWithLabelsConcurrent`), without its short stop of the world.

use core::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

mod dump;
mod lock_address;
mod turn;

#[cfg_attr(
    all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(miri)
    ),
    path = "threads/linux.rs"
)]
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(miri)
    )),
    path = "threads/noop.rs"
)]
mod backend;

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
))]
pub(crate) use backend::Maps;
pub use backend::{Exec, REACH_BYTES, Standing, StandingThread, WhoAsks};
pub use dump::{Dump, Missing, RecordedWait, Source, State, Thread};
pub use lock_address::{LockAddress, StandingWait};

/// The stacks of all threads, as they are now.
///
/// Takes as long as it takes to look at every thread, and besides at most `patience`,
/// while threads that run are waited for. Who asks while another request is under way
/// waits for it, since it may have passed by what is new; all who wait share the next
/// one, and its first one's patience.
///
/// Not to be called in a signal handler: it allocates, and waits.
///
/// Threads of everprof's own ([`crate::own_threads`]) are left out. Where the platform does not
/// tell of threads the dump says so ([`Dump::is_supported`]).
///
/// # Overhead
///
/// About 12 µs a sleeping thread on a shared x86_64 machine, 6 where its wait is recorded, none
/// of it in that thread, and 5 more in a first dump or if it has run since the last one, to read its
/// name; a running thread is held for about a microsecond (`cargo bench -p everprof-core
/// --bench threads`).
#[must_use]
pub fn collect(patience: Duration) -> Dump {
    backend::collect(patience)
}

/// To be called right before `exec`, by who sees the program call it: asks no thread anything
/// until the result is dropped, as the next program would get the signal, and end by it.
///
/// Context: signal; waits for a collector's system call, 10 ms at most.
pub fn before_exec() -> Exec<'static> {
    backend::before_exec()
}

/// Chooses the signal that running threads are asked with, from the next dump on.
///
/// Unless one is chosen, it is a realtime signal that nobody handles or ignores, from
/// SIGRTMAX downwards; the first of them that can be sent, since user emulators lack the last two.
/// Realtime signals carry the word that tells one request from
/// another and are not merged, SIGRTMIN upwards is where programs and C libraries take
/// theirs from, and the last ones are the least likely to be wanted. A chosen signal may
/// have a handler of the program: it gets what is not ours ([`crate::signal`]).
pub fn set_signal(signal: i32) {
    // Relaxed: a figure of its own.
    CHOSEN.store(signal, Ordering::Relaxed);
}

/// 0: none. Written by `set_signal`, read by each collection.
static CHOSEN: AtomicI32 = AtomicI32::new(0);

#[cfg_attr(
    not(all(target_os = "linux", not(miri))),
    allow(dead_code, reason = "nothing is signalled there")
)]
fn chosen_signal() -> Option<i32> {
    // Relaxed: as above.
    match CHOSEN.load(Ordering::Relaxed) {
        0 => None,
        signal => Some(signal),
    }
}
