//! A handler of ours in front of the program's: who gets which signal, and how.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]
#![cfg_attr(everprof_sanitizer = "thread", allow(dead_code, unused_imports))]

mod oracle;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{mem, ptr};

use everprof_core::signal::{Arrival, install, is_default, is_installed};
use everprof_core::stack::{StackEnd, ThreadMemory, capture};

/// Each test has a signal of its own: handlers are the process's.
fn signal(test: c_int) -> c_int {
    libc::SIGRTMIN() + test
}

fn handle(signal: c_int, handler: usize, flags: c_int) {
    // SAFETY: all bits zero is an empty action.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: a handler that stays for the rest of the process.
    let failed = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    assert_eq!(failed, 0);
}

/// Queues `signal` with `value` for this thread; it is handled on return. (Not by
/// `pthread_sigqueue`, which musl has not.)
fn queue(signal: c_int, value: u64) {
    // Number, error and code in front, then sender and value: `siginfo_t` of a queued signal.
    let mut queued = [0_u64; 16];
    queued[0] = u64::from(signal.cast_unsigned());
    queued[1] = u64::from(libc::SI_QUEUE.cast_unsigned());
    queued[2] = u64::from(std::process::id());
    queued[3] = value;
    // SAFETY: takes no argument.
    let this = unsafe { libc::gettid() };
    // SAFETY: reads a siginfo; the signal is handled.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            std::process::id(),
            this,
            signal,
            queued.as_ptr(),
        )
    };
    assert_eq!(failed, 0);
    // ThreadSanitizer holds it back until its thread comes to an atomic.
    static HANDED_ON: AtomicBool = AtomicBool::new(false);
    HANDED_ON.store(true, Ordering::Relaxed);
}

thread_local! {
    static OURS: Cell<u64> = const { Cell::new(0) };
    static THEIRS: Cell<u64> = const { Cell::new(0) };
}

/// Ours are those with an odd value.
fn odd(arrival: &Arrival<'_>) -> bool {
    OURS.set(OURS.get() + arrival.value());
    arrival.value() % 2 == 1
}

extern "C" fn full(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel's.
    let info = unsafe { &*info };
    // SAFETY: of a queued signal.
    let value = unsafe { info.si_value() };
    THEIRS.set(THEIRS.get() + value.sival_ptr.addr() as u64);
}

extern "C" fn plain(signal: c_int) {
    THEIRS.set(signal as u64);
}

#[test]
fn the_programs_handler_gets_what_is_not_ours_and_nothing_else() {
    handle(signal(2), full as *const () as usize, libc::SA_SIGINFO);
    assert!(!is_installed(signal(2)));
    assert!(install(signal(2), odd));
    // Twice is as once: ours does not come to stand in front of itself.
    assert!(install(signal(2), odd));
    assert!(is_installed(signal(2)));
    for value in [1, 20, 3, 40] {
        queue(signal(2), value);
    }
    assert_eq!(OURS.get(), 64);
    assert_eq!(THEIRS.get(), 60);
}

#[test]
fn a_handler_of_one_argument_is_called_too() {
    handle(signal(3), plain as *const () as usize, 0);
    assert!(install(signal(3), odd));
    queue(signal(3), 1);
    assert_eq!(THEIRS.get(), 0);
    queue(signal(3), 2);
    assert_eq!(THEIRS.get(), signal(3) as u64);
}

#[test]
fn a_signal_that_was_ignored_still_is() {
    handle(signal(4), libc::SIG_IGN, 0);
    assert!(install(signal(4), odd));
    queue(signal(4), 2);
    assert_eq!(OURS.get(), 2);
    assert!(is_installed(signal(4)));
}

#[test]
fn a_signal_that_nobody_handled_still_ends_the_process() {
    assert!(is_default(signal(5)));
    assert!(install(signal(5), odd));
    assert!(!is_default(signal(5)));
    // SAFETY: the child makes system calls only.
    let child = unsafe { libc::fork() };
    if child == 0 {
        queue(signal(5), 1);
        queue(signal(5), 2);
        // SAFETY: ends the child without running anybody's destructors.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(libc::WIFSIGNALED(status));
    assert_eq!(libc::WTERMSIG(status), signal(5));
}

#[test]
fn a_handler_for_one_time_is_called_one_time() {
    let flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
    handle(signal(6), full as *const () as usize, flags);
    assert!(install(signal(6), odd));
    queue(signal(6), 8);
    queue(signal(6), 1);
    assert_eq!(THEIRS.get(), 8);
    assert!(is_installed(signal(6)));
}

#[test]
fn errno_is_as_before() {
    fn fails(_: &Arrival<'_>) -> bool {
        // SAFETY: fails with EBADF.
        unsafe { libc::close(-1) };
        true
    }
    assert!(install(signal(7), fails));
    // SAFETY: this thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { errno.write(7) };
    queue(signal(7), 0);
    // SAFETY: as above.
    assert_eq!(unsafe { errno.read() }, 7);
}

#[test]
fn who_replaces_our_handler_is_noticed_and_not_fought() {
    assert!(install(signal(8), odd));
    handle(signal(8), full as *const () as usize, libc::SA_SIGINFO);
    assert!(!is_installed(signal(8)));
    // It may call ours for what is not its own: in front of it, ours would call it again.
    assert!(!install(signal(8), odd));
    queue(signal(8), 2);
    assert_eq!((OURS.get(), THEIRS.get()), (0, 2));
    // One that was there before, or none, knows nothing of ours.
    handle(signal(8), libc::SIG_DFL, 0);
    assert!(install(signal(8), odd));
    queue(signal(8), 1);
    assert_eq!((OURS.get(), THEIRS.get()), (1, 2));
}

#[cfg(not(everprof_sanitizer = "thread"))]
thread_local! {
    static WALKED: Cell<Option<([u64; 128], usize, StackEnd)>> = const { Cell::new(None) };
}

// ThreadSanitizer hands the signal on within its own code, which cannot be walked.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn the_registers_are_those_of_the_interrupted_code() {
    thread_local! {
        static MEMORY: ThreadMemory = const { ThreadMemory::new() };
    }
    fn walk(arrival: &Arrival<'_>) -> bool {
        let mut out = [0; 128];
        let captured =
            MEMORY.with(|memory| capture(&arrival.registers(), memory, &mut out, &(0..0)));
        WALKED.set(Some((out, captured.depth, captured.end)));
        true
    }
    assert!(install(signal(9), walk));
    let mut here = [0; 128];
    let expected = oracle::ours(&mut here).depth;
    queue(signal(9), 0);
    let (found, depth, end) = WALKED.get().unwrap();
    // musl's own code, which is interrupted here, has no tables.
    if cfg!(target_env = "musl") {
        return;
    }
    assert_eq!(end, StackEnd::Root);
    // Below this function: `queue` and the C library's functions that sent the signal.
    // Of the interrupted code, that is, and nothing of the handler.
    assert!((expected + 1..expected + 6).contains(&depth), "{depth}");
    assert_eq!(found[depth - expected + 1..depth], here[1..expected]);
}
