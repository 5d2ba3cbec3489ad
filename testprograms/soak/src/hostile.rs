//! What else happens in a process: signals that end calls, and forks.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::{self, Scope};
use std::time::Duration;

use crate::is_over;

static SIGNALS: AtomicU64 = AtomicU64::new(0);
static FORKS: AtomicU64 = AtomicU64::new(0);

pub fn start<'scope>(scope: &'scope Scope<'scope, '_>) {
    install_handler();
    scope.spawn(signal_everybody);
    scope.spawn(|| {
        while !is_over() {
            fork_a_child();
            thread::sleep(Duration::from_millis(50));
        }
    });
}

/// How much of it there was: none would prove nothing.
pub fn print() {
    let (signals, forks) = (
        SIGNALS.load(Ordering::Relaxed),
        FORKS.load(Ordering::Relaxed),
    );
    assert!(
        signals > 100 && forks > 10,
        "{signals} signals, {forks} forks"
    );
    println!("held signals_are_the_programs {signals}");
    println!("held forked_children_work {forks}");
}

/// Also where it interrupts the allocator or a lock: it only counts.
extern "C" fn handler(_: c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Without SA_RESTART: calls end with EINTR.
fn install_handler() {
    // SAFETY: all bytes zero is a valid sigaction: no handler, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: the handler only adds to an atomic.
    let installed =
        unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
}

fn signal_everybody() {
    let process = std::process::id();
    while !is_over() {
        for entry in std::fs::read_dir("/proc/self/task")
            .expect("there is /proc")
            .flatten()
        {
            let name = entry.file_name();
            if let Some(tid) = name.to_str().and_then(|name| name.parse::<c_int>().ok()) {
                // SAFETY: asks for a signal to a thread of this process, or to none.
                unsafe { libc::syscall(libc::SYS_tgkill, process, tid, libc::SIGUSR1) };
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A child that allocates, has labels and waits for its own. It starts no thread: another of the
/// parent's may have been starting one, in the midst of a lock of std's.
fn fork_a_child() {
    // SAFETY: glibc keeps its heap usable in the child of a threaded process; the child uses
    // locks of its own only, and exits.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let _labels = everprof::labels! { "tenant" => "child" };
        let kept: Vec<Vec<u8>> = (0..100).map(|size| vec![1; size * 100]).collect();
        let (lock, never) = (Mutex::new(()), Condvar::new());
        let held = lock.lock().expect("no panic");
        let waited = never.wait_timeout(held, Duration::from_millis(2)).is_ok();
        let right = waited && kept.iter().all(|bytes| bytes.iter().all(|&byte| byte == 1));
        // SAFETY: ends the child at once, as a forked child should.
        unsafe { libc::_exit(i32::from(!right)) };
    }
    let mut status = 0;
    // SAFETY: `pid` is our child and `status` is writable.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {}
    assert_eq!(status, 0, "a child ended with status {status:#x}");
    FORKS.fetch_add(1, Ordering::Relaxed);
}
