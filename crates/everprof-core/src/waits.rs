//! Waits: who waited, who made them wait, and who waits now.
//!
//! Context: sampled: any thread, also in signal handlers. Never touches errno, never
//! allocates from the program, never panics; what says cold is cold.
//! Invariant: `call` runs exactly once, whatever becomes of the record.
//!
//! The way of a wait: `chance` draws whether it will be recorded if it takes long
//! enough; `addresses` counts the waiter (`word`: how long all have waited); `slots`
//! shows it to whoever asks who is blocked; then the call; then all of it backwards, and
//! `tally` counts it. A wake asks `addresses` what the waiters of that address have
//! waited since the last one, before the call that lets them go, and is charged with it.
//! [`Recorder`] joins these. The functions here are its use by whoever sees the
//! program's calls.
//!
//! **Block.** The stack is the waiter's as it is before it sleeps. It is captured before
//! the wait if that will be recorded unless it is very short, else after it, and only
//! if it is recorded. A capture between a wait's end and the program's next step
//! lengthens whatever lock the waiter has just got. (A profiler that captures there
//! each time was seen to make locks slower the more it recorded:
//! async-profiler#805.)
//!
//! **Mutex.** The stack is the waker's, captured after it has let the others go, and only
//! if the wake is recorded. Which lock it was does not show in a waker's stack, so that
//! the bucket also names the *site*, the innermost frames of a waiter. Where each thread
//! parks on a word of its own, the address does not tell the lock either: `log` keeps
//! the last wakes, and `chain` charges a wait along those that led to its end.

#[cfg(not(everprof_loom))]
use crate::settings;
#[cfg(not(everprof_loom))]
use crate::stack::{Registers, spilled};

pub mod addresses;
pub(crate) mod chance;
pub mod log;
pub mod slots;
mod thread;
mod turns;
mod waiters;
pub mod word;
pub use chance::Weight;
pub(crate) use thread::ThreadState;

#[cfg(not(everprof_loom))]
mod blocked;
#[cfg(not(everprof_loom))]
mod chain;
#[cfg(not(everprof_loom))]
mod latest;
#[cfg(not(everprof_loom))]
pub(crate) mod parts;
#[cfg(not(everprof_loom))]
mod recorder;
#[cfg(not(everprof_loom))]
mod snapshot;
#[cfg(not(everprof_loom))]
mod tally;
#[cfg(not(everprof_loom))]
mod wakes;
#[cfg(not(everprof_loom))]
pub use blocked::Blocked;
#[cfg(not(everprof_loom))]
pub(crate) use blocked::UnderWay;
#[cfg(not(everprof_loom))]
pub use latest::Latest;
#[cfg(not(everprof_loom))]
pub use recorder::{Begun, Recorder};
#[cfg(not(everprof_loom))]
pub use snapshot::{BlockBucket, BlockSnapshot, MutexBucket, MutexSnapshot};
#[cfg(not(everprof_loom))]
pub use tally::Tally;
#[cfg(not(everprof_loom))]
pub use wakes::Charged;

/// What is waited in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// A futex, through the C library's `syscall`.
    Futex = 1,
    /// C's `pthread_mutex`.
    Lock = 2,
    /// C's `pthread_cond`, barriers and semaphores.
    Condition = 3,
    /// The end of a thread.
    Join = 4,
    /// A moment.
    Sleep = 5,
    /// Another thread's turn.
    Yield = 6,
    /// A descriptor.
    Io = 7,
    /// C's `pthread_rwlock`; wanted where [`Operation::Lock`] is.
    Rwlock = 8,
}

/// All but sleeping and waiting for descriptors: neither is anybody's fault.
pub const DEFAULT_OPERATIONS: u64 = 1 << Operation::Futex as u64
    | 1 << Operation::Lock as u64
    | 1 << Operation::Condition as u64
    | 1 << Operation::Join as u64
    | 1 << Operation::Yield as u64;

impl Operation {
    /// The operation with this number, as stored; `None`: of a later version.
    #[must_use]
    pub fn of_number(number: u64) -> Option<Self> {
        const ALL: [Operation; 8] = [
            Operation::Futex,
            Operation::Lock,
            Operation::Condition,
            Operation::Join,
            Operation::Sleep,
            Operation::Yield,
            Operation::Io,
            Operation::Rwlock,
        ];
        ALL.into_iter()
            .find(|operation| *operation as u64 == number)
    }
}

/// How a wait ended, as far as the call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By somebody's wake.
    Woken,
    /// By the clock or a signal: nobody's wake ended it.
    TimedOut,
    /// There was nothing to wait for.
    NotSlept,
}

/// A wait to come.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// What is waited in.
    pub operation: Operation,
    /// What is waited for; 0: nothing that has an address.
    pub address: usize,
    /// Whether the clock may end it.
    pub timed: bool,
}

/// Whether waits of this kind are recorded at all.
#[cfg(not(everprof_loom))]
#[inline(always)]
#[must_use]
pub fn wants(operation: Operation) -> bool {
    let operations = crate::global::store()
        .settings()
        .get(settings::Name::WaitOperations);
    operations >> operation as u64 & 1 == 1
}

/// Runs `call`, which may sleep, as a wait. `registers` are those of a frame that does not
/// return before this does.
///
/// There is no guard that would end the wait if `call` were unwound: a thread that is
/// cancelled in C's functions unwinds through this frame, which must have nothing to
/// drop. The slot is found and taken back later (`slots`).
#[cfg(not(everprof_loom))]
#[inline(always)]
pub fn around<R>(
    wait: &Wait,
    registers: &Registers,
    call: impl FnOnce() -> R,
    ended: impl FnOnce(&R) -> Ended,
) -> R {
    let recorder = crate::global::waits();
    let mut begun = Begun::NOTHING;
    recorder.begin(wait, registers, &mut begun);
    let result = asleep(wait.operation, call);
    if begun.is_something() {
        recorder.end(wait, registers, &begun, ended(&result));
    }
    result
}

/// Runs `call` where others can see what the thread holds while it sleeps. A yield is
/// no sleep.
#[cfg(not(everprof_loom))]
#[inline(always)]
fn asleep<R>(operation: Operation, call: impl FnOnce() -> R) -> R {
    if operation == Operation::Yield {
        call()
    } else {
        sleeping(call)
    }
}

/// Runs `call`, which may sleep, where others can see what the thread holds meanwhile.
/// If a trace has begun by then, the thread joins it at its next allocation.
#[cfg(not(everprof_loom))]
#[inline(always)]
pub(crate) fn sleeping<R>(call: impl FnOnce() -> R) -> R {
    let result = spilled::around(call);
    crate::global::tracer().after_sleep();
    result
}

/// Runs `call`, which wakes waiters of `address`; `woken` says how many it did wake.
#[cfg(not(everprof_loom))]
#[inline(always)]
pub fn wake<R>(
    address: usize,
    registers: &Registers,
    call: impl FnOnce() -> R,
    woken: impl FnOnce(&R) -> u32,
) -> R {
    let recorder = crate::global::waits();
    let charged = recorder.before_wake(address);
    let result = call();
    if let Some(charged) = charged {
        recorder.after_wake(&charged, registers, woken(&result));
    }
    result
}

/// The time now, on the clock that waits are told by. Cold.
#[cfg(not(everprof_loom))]
#[must_use]
pub fn now_nanos() -> u64 {
    crate::clock::now_nanos()
}

/// `count` waiters of `from` now wait for `to`.
#[cfg(not(everprof_loom))]
#[cold]
pub fn requeued(from: usize, to: usize, count: u32) {
    crate::global::waits().requeued(from, to, count, crate::clock::now_nanos());
}
