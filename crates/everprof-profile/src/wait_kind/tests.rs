//! Claims about kinds of waits, by the stacks of real builds.

use super::*;

fn kind(stack: &str) -> WaitKind {
    WaitKind::of_stack(stack.split(" < "), WaitKind::Other)
}

const ROOT: &str = "std::sys::backtrace::__rust_begin_short_backtrace < core::ops::function::FnOnce::call_once{{vtable.shim}} < <std::sys::thread::unix::Thread>::new::thread_start < start_thread < clone3";

/// Stacks of a release build, by its symbol table.
#[test]
fn kinds_of_a_release_build_are_told() {
    for (stack, expected) in [
        (
            "std::sys::pal::unix::futex::futex_wait < <std::sys::sync::mutex::futex::Mutex>::lock_contended < app::work",
            WaitKind::Mutex,
        ),
        (
            "std::sys::pal::unix::futex::futex_wait < <std::sys::sync::rwlock::futex::RwLock>::write_contended < app::work",
            WaitKind::RwLock,
        ),
        (
            "std::sys::pal::unix::futex::futex_wait < <std::sys::sync::condvar::futex::Condvar>::wait_optional_timeout < app::work",
            WaitKind::Condvar,
        ),
        (
            "std::sys::pal::unix::futex::futex_wait < <std::thread::thread::Thread>::park < std::thread::functions::park < app::work",
            WaitKind::Park,
        ),
        (
            "std::sys::pal::unix::futex::futex_wait < <std::thread::thread::Thread>::park < std::thread::functions::park < crossbeam_channel::flavors::list::Channel<T>::recv::{{closure}} < app::work",
            WaitKind::Channel,
        ),
        (
            "std::sys::pal::unix::futex::futex_wait < std::sync::mpmc::zero::Channel<T>::send::{{closure}} < app::work",
            WaitKind::Channel,
        ),
        (
            "std::sys::pal::unix::futex::futex_wait < <std::thread::thread::Thread>::park < once_cell::imp::initialize_or_wait < app::work",
            WaitKind::Once,
        ),
        (
            "std::sys::pal::unix::futex::futex_wait < <std::sys::sync::condvar::futex::Condvar>::wait < rayon_core::latch::LockLatch::wait_and_reset < app::work",
            WaitKind::Join,
        ),
        (
            "parking_lot::raw_mutex::RawMutex::lock_slow < tokio::sync::batch_semaphore::Semaphore::poll_acquire < app::work",
            WaitKind::Mutex,
        ),
    ] {
        assert_eq!(kind(&format!("{stack} < {ROOT}")), expected, "{stack}");
    }
}

/// A turn that is given away within a lock is part of waiting for it; by the program itself
/// it keeps nobody waiting.
#[test]
fn a_yield_is_its_locks_or_nobodys() {
    for (stack, expected) in [
        (
            "sched_yield < std::thread::yield_now < app::spin",
            WaitKind::Yield,
        ),
        (
            "sched_yield < std::thread::functions::yield_now < parking_lot::raw_mutex::RawMutex::lock_slow < app::work",
            WaitKind::Mutex,
        ),
        (
            "sched_yield < std::thread::yield_now < crossbeam_channel::flavors::list::Channel<T>::recv < app::work",
            WaitKind::Channel,
        ),
    ] {
        let stack = format!("{stack} < {ROOT}");
        let kind = WaitKind::of_stack(stack.split(" < "), WaitKind::Yield);
        assert_eq!(kind, expected, "{stack}");
        assert_eq!(kind.is_idle(), expected == WaitKind::Yield);
    }
}

/// Fat LTO without debug information leaves the slow paths of locks, and of
/// channels and runtimes what they are known by.
#[test]
fn kinds_of_a_fat_lto_build_are_told_or_said_to_be_unknown() {
    for (stack, expected) in [
        (
            "<std::sys::sync::mutex::futex::Mutex>::lock_contended",
            WaitKind::Mutex,
        ),
        (
            "parking_lot::raw_rwlock::RawRwLock::lock_shared_slow",
            WaitKind::RwLock,
        ),
        ("std::thread::functions::park_timeout", WaitKind::Park),
        (
            "parking_lot::condvar::Condvar::wait_until_internal < tokio::runtime::park::CachedParkThread::park",
            WaitKind::Task,
        ),
        (
            "rayon_core::latch::LockLatch::wait_and_reset < rayon_core::registry::Registry::in_worker_cold < app::work",
            WaitKind::Join,
        ),
        // A condition variable's wait, inlined into the program.
        ("app::work", WaitKind::Other),
    ] {
        let stack = format!("syscall < {stack} < app::main < {ROOT}");
        assert_eq!(kind(&stack), expected, "{stack}");
    }
}

#[test]
fn threads_of_runtimes_without_work_are_idle_and_those_with_work_wait() {
    for stack in [
        "parking_lot::condvar::Condvar::wait_until_internal < tokio::runtime::scheduler::multi_thread::park::Inner::park_condvar < tokio::runtime::scheduler::multi_thread::worker::Context::park_internal < tokio::runtime::task::raw::poll",
        "parking_lot::condvar::Condvar::wait_until_internal < tokio::runtime::blocking::pool::Inner::run",
        "epoll_wait < mio::poll::Poll::poll < tokio::runtime::io::driver::Driver::turn < tokio::runtime::scheduler::multi_thread::worker::Context::park_internal",
        "<std::sys::sync::condvar::futex::Condvar>::wait < rayon_core::sleep::Sleep::sleep < rayon_core::registry::WorkerThread::wait_until_cold < rayon_core::registry::ThreadBuilder::run",
    ] {
        assert_eq!(
            kind(&format!("syscall < {stack} < {ROOT}")),
            WaitKind::Idle,
            "{stack}"
        );
    }
    // Fat LTO has inlined the program's functions, but it did ask.
    for (stack, expected) in [
        (
            "parking_lot::condvar::Condvar::wait_until_internal < tokio::runtime::runtime::Runtime::block_on",
            WaitKind::Task,
        ),
        (
            "rayon_core::latch::LockLatch::wait_and_reset < rayon_core::registry::Registry::in_worker_cold",
            WaitKind::Join,
        ),
    ] {
        assert_eq!(kind(&format!("syscall < {stack} < {ROOT}")), expected);
    }
    // A worker that waits for another's half of a join.
    let helps = "rayon_core::sleep::Sleep::sleep < rayon_core::registry::WorkerThread::wait_until_cold < rayon_core::join::join_context::{{closure}} < app::sort < rayon_core::registry::ThreadBuilder::run";
    assert_eq!(kind(helps), WaitKind::Join);
    // A task that takes a lock on a worker.
    let takes = "<std::sys::sync::mutex::futex::Mutex>::lock_contended < app::handle < tokio::runtime::task::raw::poll < tokio::runtime::scheduler::multi_thread::worker::Context::run";
    assert_eq!(kind(takes), WaitKind::Mutex);
}

#[test]
fn what_the_call_says_stands_unless_names_say_more() {
    let stack = ["app::work", "main"];
    assert_eq!(WaitKind::of_stack(stack, WaitKind::Sleep), WaitKind::Sleep);
    let stack = ["std::thread::scoped::scope", "app::work"];
    assert_eq!(WaitKind::of_stack(stack, WaitKind::Join), WaitKind::Join);
    let empty: [&str; 0] = [];
    assert_eq!(WaitKind::of_stack(empty, WaitKind::Other), WaitKind::Other);
}

#[test]
fn a_lock_of_the_programs_own_is_not_taken_for_stds() {
    assert_eq!(
        kind("app::sync::mutex::Mutex<T>::lock < app::main"),
        WaitKind::Other
    );
    assert_eq!(
        kind("app::run::<std::sys::sync::mutex::futex::Mutex> < app::main"),
        WaitKind::Other
    );
}
