//! What a thread waits for, told by the names of the functions it waits in.
//!
//! Context: cold. Invariant: a kind is told by frames of the standard library and
//! of crates that make locks, channels and runtimes, never by the program's own:
//! looking outwards ends at the first function of the program.
//!
//! A lock's slow path is a function of its own in every build, also where fat LTO
//! inlines all else: `lock_contended`, `lock_slow`. A condition variable's `wait`
//! is not: without debug information such a wait may be told by nothing, and is
//! [`WaitKind::Other`] then, rather than a guess.
//!
//! From the leaf outwards, the first frame that says *what* is waited for ends the
//! search. One that only says *how* (parked, on a condition variable) is kept, and
//! gives way to a channel, a join or a lock that turns out to be built on it. Where
//! no function of the program is met at all, the thread is a runtime's own, and
//! idle.

use crate::report::own::is_standard;

/// What a wait was for: the label `wait` of block profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitKind {
    /// An exclusive lock.
    Mutex,
    /// A lock for readers or a writer.
    RwLock,
    /// Something that is initialised once.
    Once,
    /// A condition variable.
    Condvar,
    /// A message, or room for one.
    Channel,
    /// The end of a thread, or of a piece of work that others do.
    Join,
    /// Others to arrive, too.
    Barrier,
    /// `thread::park`, for nothing that is known.
    Park,
    /// A future that is run to its end on this thread.
    Task,
    /// Time to pass.
    Sleep,
    /// A descriptor.
    Io,
    /// A runtime's thread without work.
    Idle,
    /// Another thread's turn, in no lock: the program yielded by itself.
    Yield,
    /// Told by no name.
    Other,
}

impl WaitKind {
    /// As the label says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::RwLock => "rwlock",
            Self::Once => "once",
            Self::Condvar => "condvar",
            Self::Channel => "channel",
            Self::Join => "join",
            Self::Barrier => "barrier",
            Self::Park => "park",
            Self::Task => "task",
            Self::Sleep => "sleep",
            Self::Io => "io",
            Self::Idle => "idle",
            Self::Yield => "yield",
            Self::Other => "other",
        }
    }

    /// Whether it ends by somebody's unlocking: what a mutex profile shows.
    #[must_use]
    pub const fn is_lock(self) -> bool {
        matches!(self, Self::Mutex | Self::RwLock)
    }

    /// Whether nobody is kept waiting by it: what a block profile shows only if asked to.
    #[must_use]
    pub const fn is_idle(self) -> bool {
        matches!(self, Self::Idle | Self::Yield)
    }

    /// The kind of a wait in these functions, leaf first; `known` is what the call
    /// itself says (a join, a sleep), [`WaitKind::Other`] if nothing.
    pub fn of_stack<'a>(names: impl IntoIterator<Item = &'a str>, known: Self) -> Self {
        let mut kind = known;
        let mut runtime = false;
        let mut asked_for = matches!(known, Self::Join | Self::Sleep);
        for name in names {
            let path = without_generics(name);
            runtime |= is_runtime(&path);
            match named(&path) {
                Some(what) if kind.gives_way_to(what) => {
                    // A worker that waits for others' work, within work of its own or
                    // for its first: the frames further out say which.
                    let helps = what == Self::Join && path.contains(HELPS);
                    asked_for = !helps && matches!(what, Self::Join | Self::Task);
                    kind = what;
                }
                Some(_) => {}
                None if is_plumbing(name, &path) => {}
                None => return kind,
            }
            if kind.is_final() {
                return kind;
            }
        }
        // Whatever it waits for, it is nothing that the program asked for.
        if runtime && !asked_for {
            Self::Idle
        } else {
            kind
        }
    }

    /// Nothing further out says it better.
    fn is_final(self) -> bool {
        matches!(
            self,
            Self::Mutex | Self::RwLock | Self::Once | Self::Channel | Self::Barrier | Self::Sleep
        )
    }

    fn gives_way_to(self, what: Self) -> bool {
        let rank = |kind| match kind {
            Self::Other | Self::Yield => 0,
            Self::Park | Self::Condvar => 1,
            Self::Io | Self::Task | Self::Join => 2,
            _ => 3,
        };
        rank(self) < rank(what)
    }
}

/// Whether parks of this function are on a word of the thread's own, so that the
/// address waited for does not say which lock it was: parking_lot's.
#[must_use]
pub fn parks_on_own_word(name: &str) -> bool {
    let path = without_generics(name);
    path.starts_with("parking_lot::") || path.starts_with("parking_lot_core::")
}

/// The kind of lock whose own word a thread sleeps on that waits in these functions, leaf
/// first: std's locks. `None`: it sleeps on something else, be it on behalf of a lock.
pub fn sleeps_on_lock<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<WaitKind> {
    for name in names {
        let path = without_generics(name);
        if let Some(kind) = named(&path) {
            let is_own = OWN_WORDS.iter().any(|part| path.contains(part));
            return is_own.then_some(kind);
        }
        if !is_plumbing(name, &path) {
            return None;
        }
    }
    None
}

/// Those of [`KNOWN`] that sleep on the lock's own word.
const OWN_WORDS: [&str; 2] = ["sync::mutex::futex::Mutex", "sync::rwlock::futex::RwLock"];

/// What a function is known to wait for.
fn named(path: &str) -> Option<WaitKind> {
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
const HELPS: &str = "rayon_core::registry::WorkerThread::wait_until";

/// A crate whose threads are its own: when they wait for nothing that the program
/// asked for, they are idle.
fn is_runtime(path: &str) -> bool {
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
fn is_plumbing(name: &str, path: &str) -> bool {
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
fn without_generics(name: &str) -> String {
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
