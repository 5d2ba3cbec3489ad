//! What the recorder of waits has been told, as far as tests ask.

#![allow(dead_code, reason = "each test takes what it needs")]

use everprof_core::global;
use everprof_core::settings::Name;
use everprof_core::waits::Operation;

/// Records every wait of every kind, and every wake that ends one.
pub fn want_all() {
    let settings = global::store().settings();
    settings.set(Name::BlockPeriod, 1);
    settings.set(Name::MutexPeriod, 1);
    settings.set(Name::WaitOperations, !0);
}

/// Whether a thread waits in such an operation now.
pub fn is_blocked(tid: u32, operation: Operation) -> bool {
    let mut found = false;
    global::waits().for_each_blocked(|blocked| {
        found |= blocked.tid == tid && blocked.operation == operation;
    });
    found
}

/// How many waits of this kind have ended.
pub fn ended(operation: Operation) -> u64 {
    let block = global::waits().block();
    let of_kind = block
        .iter()
        .filter(|bucket| bucket.operation == Some(operation));
    of_kind.map(|bucket| bucket.waits.samples).sum()
}

/// How many wakes have ended somebody's wait.
pub fn wakes() -> u64 {
    let mutex = global::waits().mutex();
    mutex.iter().map(|bucket| bucket.waits.samples).sum()
}

/// This thread, as the kernel knows it.
pub fn own_tid() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }.cast_unsigned()
}
