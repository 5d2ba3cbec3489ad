//! How everprof begins in a process: before `main`, on threads and at sockets of its own.
//!
//! Context: cold. Invariant: no thread of ours is in a profile, and no handler of
//! the program's runs on one.

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::thread::{self, JoinHandle};

use everprof_core::global;
use everprof_core::own_threads::OwnThread;

#[cfg(feature = "environment")]
mod constructor;

#[cfg_attr(not(target_os = "linux"), path = "start/own_socket_noop.rs")]
pub(crate) mod own_socket;

/// One line on stderr. It may be closed; then there is nobody to tell.
pub(crate) fn complain(message: String) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Whether the program has more rights than whoever started it, so that the
/// environment is not to be trusted.
pub(crate) fn has_more_rights() -> bool {
    // SAFETY: `getauxval` reads what the kernel left at the process's start.
    #[cfg(target_os = "linux")]
    return unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    #[cfg(not(target_os = "linux"))]
    return true;
}

/// Leaves this thread out of the profiles until dropped: what everprof allocates
/// to show a program its memory is not the program's.
pub(crate) struct LeftOut {
    before: bool,
}

impl LeftOut {
    pub(crate) fn new() -> Self {
        Self {
            before: global::exclude_this_thread(true),
        }
    }
}

impl Drop for LeftOut {
    fn drop(&mut self) {
        global::exclude_this_thread(self.before);
    }
}

/// Starts a thread of ours: named, left out of the profiles, all signals blocked.
///
/// # Errors
///
/// Where the system has none to give.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let blocked = BlockedSignals::new();
    // What starts it is not the program.
    let _left_out = LeftOut::new();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        global::exclude_this_thread(true);
        let _own = OwnThread::register();
        body();
    });
    drop(blocked);
    thread
}

/// Has `call` called when the process exits, by `exit` or by returning from `main`.
pub(crate) fn call_at_exit(call: extern "C" fn()) {
    // SAFETY: it takes no arguments and does not unwind; a library with handlers at exit is
    // not unloaded before they have been called.
    unsafe { libc::atexit(call) };
}

/// Blocks every signal on this thread, and on those it starts, until dropped.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn new() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigfillset` writes the whole set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both point to a set; it cannot fail with a valid `how`, and
        // then has written `before`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: written above.
        let before = unsafe { before.assume_init() };
        Self { before }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `before` is the mask that `new` found.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::channel;

    use super::*;

    fn blocks(signal: i32) -> bool {
        let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: a null set asks for the mask, which is written.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), mask.as_mut_ptr()) };
        // SAFETY: written above.
        let member = unsafe { libc::sigismember(mask.as_ptr(), signal) };
        member == 1
    }

    #[test]
    fn our_threads_take_no_signals_and_those_of_the_program_keep_theirs() {
        let (tell, told) = channel();
        let thread = spawn("everprof-test", move || {
            let name = thread::current().name().map(str::to_owned);
            tell.send((name, blocks(libc::SIGTERM))).unwrap();
        });
        thread.unwrap().join().unwrap();
        assert_eq!(
            told.recv().unwrap(),
            (Some("everprof-test".to_owned()), true)
        );
        assert!(!blocks(libc::SIGTERM));
    }
}
