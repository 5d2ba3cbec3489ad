//! Names: which functions wait, for what, and which are nobody's.
//!
//! Context: cold. Invariant: names are looked at without their type parameters, so that a
//! function is never taken for a type that it is used with.

use super::WaitKind;
use crate::report::own::is_standard;

/// Those of [`KNOWN`] that sleep on the lock's own word.
pub(super) const OWN_WORDS: [&str; 2] =
    ["sync::mutex::futex::Mutex", "sync::rwlock::futex::RwLock"];

/// What a function is known to wait for.
pub(super) fn named(path: &str) -> Option<WaitKind> {
    KNOWN
        .iter()
        .find(|(part, _)| path.contains(part))
        .map(|(_, kind)| *kind)
}

/// Paths of functions that wait, without type parameters. Names are those of the
/// crates' releases up to this year; each was seen in a program that waits there.
const KNOWN: &[(&str, WaitKind)] = &[
    ("sync::mutex::futex::Mutex", WaitKind::Mutex),
    ("sync::rwlock::futex::RwLock", WaitKind::RwLock),
    ("sync::once::futex::Once", WaitKind::Once),
    ("sync::condvar::futex::Condvar", WaitKind::Condvar),
    ("std::sync::poison::condvar::Condvar", WaitKind::Condvar),
    ("std::sync::mpmc::", WaitKind::Channel),
    ("std::sync::mpsc::", WaitKind::Channel),
    ("std::sync::barrier::Barrier", WaitKind::Barrier),
    ("std::thread::scoped::scope", WaitKind::Join),
    ("std::thread::join_handle::", WaitKind::Join),
    ("std::thread::lifecycle::JoinInner", WaitKind::Join),
    ("std::thread::functions::park", WaitKind::Park),
    ("std::thread::thread::Thread::park", WaitKind::Park),
    ("std::sys::sync::thread_parking::", WaitKind::Park),
    ("std::thread::functions::sleep", WaitKind::Sleep),
    ("parking_lot::raw_mutex::RawMutex", WaitKind::Mutex),
    ("parking_lot::raw_rwlock::RawRwLock", WaitKind::RwLock),
    ("parking_lot::once::Once", WaitKind::Once),
    ("parking_lot::condvar::Condvar", WaitKind::Condvar),
    ("once_cell::imp::", WaitKind::Once),
    ("crossbeam_channel::", WaitKind::Channel),
    (
        "crossbeam_utils::sync::sharded_lock::ShardedLock",
        WaitKind::RwLock,
    ),
    (
        "crossbeam_utils::sync::wait_group::WaitGroup",
        WaitKind::Join,
    ),
    ("crossbeam_utils::sync::parker::", WaitKind::Park),
    ("parking::", WaitKind::Park),
    ("flume::", WaitKind::Channel),
    ("kanal::", WaitKind::Channel),
    ("async_channel::", WaitKind::Channel),
    ("tokio::sync::mutex::Mutex", WaitKind::Mutex),
    ("tokio::sync::rwlock::RwLock", WaitKind::RwLock),
    ("tokio::sync::once_cell::", WaitKind::Once),
    ("tokio::sync::mpsc::", WaitKind::Channel),
    ("tokio::sync::oneshot::", WaitKind::Channel),
    ("tokio::sync::broadcast::", WaitKind::Channel),
    ("tokio::runtime::park::CachedParkThread", WaitKind::Task),
    ("tokio::runtime::runtime::Runtime::block_on", WaitKind::Task),
    ("tokio::future::block_on::", WaitKind::Task),
    ("futures_executor::local_pool::", WaitKind::Task),
    ("pollster::", WaitKind::Task),
    ("rayon_core::latch::LockLatch", WaitKind::Join),
    (HELPS, WaitKind::Join),
    ("pthread_mutex_", WaitKind::Mutex),
    ("pthread_rwlock_", WaitKind::RwLock),
    ("pthread_cond_", WaitKind::Condvar),
    ("pthread_barrier_", WaitKind::Barrier),
    ("pthread_clockjoin", WaitKind::Join),
    ("pthread_join", WaitKind::Join),
    ("pthread_once", WaitKind::Once),
];

/// Where a worker of rayon does others' work until its own is done.
pub(super) const HELPS: &str = "rayon_core::registry::WorkerThread::wait_until";

/// A crate whose threads are its own: when they wait for nothing that the program
/// asked for, they are idle.
pub(super) fn is_runtime(path: &str) -> bool {
    [
        "tokio::runtime::",
        "rayon_core::",
        "async_global_executor::",
        "async_std::",
        "smol::",
        "blocking::",
        "futures_executor::thread_pool::",
    ]
    .iter()
    .any(|part| path.starts_with(part))
}

/// Whether a function is neither the program's nor says anything: of the standard
/// library, of the C library, or of a crate on which runtimes and locks are built.
pub(super) fn is_plumbing(name: &str, path: &str) -> bool {
    // What std calls of the program's is the program's, whoever's name it bears; but
    // these call nothing that waits before they have called the program.
    is_standard(name)
        || [
            "std::",
            "core::",
            "alloc::",
            "parking_lot",
            "lock_api::",
            "once_cell::",
            "crossbeam",
            "event_listener::",
            "async_executor::",
            "async_io::",
            "polling::",
            "mio::",
            "futures_lite::",
            "futures_core::",
            "futures_util::",
            "rustix::",
            "everprof",
        ]
        .iter()
        .any(|part| path.starts_with(part))
        || is_runtime(path)
        || (!name.contains("::") && is_c_library(name))
}

/// The C library's functions beneath a wait and beneath a thread.
fn is_c_library(name: &str) -> bool {
    name.starts_with("__")
        || name.starts_with("pthread_")
        || matches!(
            name,
            "syscall"
                | "start_thread"
                | "clone"
                | "clone3"
                | "epoll_wait"
                | "epoll_pwait"
                | "poll"
                | "ppoll"
                | "select"
                | "nanosleep"
                | "clock_nanosleep"
                | "sched_yield"
                | "_start"
                | "main"
        )
}

/// A function's path without what stands in angle brackets, but for the type that a
/// method is of: `<a::B<T> as c::D>::e::<U>` becomes `a::B as c::D::e`.
pub(super) fn without_generics(name: &str) -> String {
    let body = name.trim_start_matches(['<', '&']);
    // Those that opened at the front close somewhere behind, and are no generics.
    let mut opened = name.len() - body.len() - name[..name.len() - body.len()].matches('&').count();
    let mut path = String::with_capacity(body.len());
    let mut depth = 0usize;
    let mut before = ' ';
    for c in body.chars() {
        match c {
            '<' => depth += 1,
            // An arrow of a function's type.
            '>' if before == '-' => {}
            '>' if depth > 0 => depth -= 1,
            '>' if opened > 0 => opened -= 1,
            c if depth == 0 => path.push(c),
            _ => {}
        }
        before = c;
    }
    path.truncate(path.trim_end_matches("::").len());
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_parameters_are_taken_out_and_the_type_of_a_method_is_not() {
        for (name, path) in [
            ("<a::B<T> as c::D>::e::<U>", "a::B as c::D::e"),
            ("a::b::<fn(u8) -> u8>::c", "a::b::::c"),
            ("<&a::B>::c", "a::B::c"),
            ("a::Channel<T>::recv", "a::Channel::recv"),
            ("<", ""),
            ("", ""),
        ] {
            assert_eq!(without_generics(name), path, "{name}");
        }
    }
}
