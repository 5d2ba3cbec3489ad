//! `exec` in the same process is followed: `rustup`'s cargo, shell wrappers
//! and `#!/usr/bin/env` all replace themselves by the program that is meant.
//!
//! Context: signal. POSIX lets `exec` be called in a handler and after fork.
//! Invariant: in any other process than the one that was started under
//! everprof these functions are the displaced ones, argument for argument.
//! That includes a child of `vfork` or `fork`, whose process id differs.
//!
//! The C library's functions do not call one another through the loader's
//! tables, so every member of the family is defined here; those with a list of
//! arguments are `everprof-core`'s, which calls these by name.

use std::ffi::{c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use everprof_core::threads;

use crate::environment::{Restored, Traces};
use crate::errno::Errno;
use crate::real::Slot;

type Strings = *const *mut c_char;
type Execve = unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int;
type Fexecve = unsafe extern "C" fn(c_int, Strings, Strings) -> c_int;
type Execveat = unsafe extern "C" fn(c_int, *const c_char, Strings, Strings, c_int) -> c_int;

static EXECVE: Slot<Execve> = Slot::new();
static EXECVPE: Slot<Execve> = Slot::new();
static FEXECVE: Slot<Fexecve> = Slot::new();
static EXECVEAT: Slot<Execveat> = Slot::new();

/// The process that is profiled; 0: none. Written by `follow`.
static PROCESS: AtomicI32 = AtomicI32::new(0);
/// What to put back. Written once by `follow`, never freed.
static TRACES: AtomicPtr<Traces> = AtomicPtr::new(ptr::null_mut());

unsafe extern "C" {
    // `mut`, as `setenv` changes it.
    static mut environ: Strings;
}

/// From now on an `exec` by this very process takes `traces` along.
pub(crate) fn follow(traces: &'static Traces) {
    // Release: publishes what it points to. Pairs with the Acquire in `restored`.
    TRACES.store(ptr::from_ref(traces).cast_mut(), Ordering::Release);
    // Release: after the traces. Pairs with the Acquire in `restored`.
    // SAFETY: no preconditions.
    PROCESS.store(unsafe { libc::getpid() }, Ordering::Release);
}

/// Finds the displaced functions, so that none is looked up in a fork's child.
pub(crate) fn resolve() {
    EXECVE.find(&[c"execve"]);
    EXECVPE.find(&[c"execvpe"]);
    FEXECVE.find(&[c"fexecve"]);
    EXECVEAT.find(&[c"execveat"]);
}

/// The environment to use instead of `given`, where the call is to be followed.
///
/// # Safety
/// `given` is null or a null-terminated array of C strings.
unsafe fn restored(given: Strings) -> Option<Restored> {
    // Acquire: pairs with the Release in `follow`.
    let traces = TRACES.load(Ordering::Acquire);
    // Acquire: as above.
    // SAFETY: no preconditions. The kernel is asked, as a child of vfork shares our memory.
    if traces.is_null() || PROCESS.load(Ordering::Acquire) != unsafe { libc::getpid() } {
        return None;
    }
    // SAFETY: `follow` stored a reference to a static value.
    let traces = unsafe { &*traces };
    // SAFETY: the caller's promise.
    unsafe { Restored::new(given, traces) }
}

/// Calls `exec` with the environment that is due, and returns its failure.
///
/// # Safety
/// `given` is null or a null-terminated array of C strings.
unsafe fn with_environment(given: Strings, exec: impl FnOnce(Strings) -> c_int) -> c_int {
    // SAFETY: the caller's promise.
    let restored = unsafe { restored(given) };
    let errno = Errno::now();
    // The next program is not to get a signal of ours.
    let quiet = threads::before_exec();
    errno.restore();
    let status = exec(
        restored
            .as_ref()
            .map_or(given, |new| new.as_ptr().cast_const()),
    );
    let errno = Errno::now();
    drop(quiet);
    drop(restored);
    errno.restore();
    status
}

/// The C library's environment, read just as its own `execv` reads it.
fn inherited() -> Strings {
    // SAFETY: a pointer-sized variable of the C library; whoever changes it
    // while another thread calls `execv` breaks that call too.
    unsafe { environ }
}

fn unsupported() -> c_int {
    Errno::set(libc::ENOSYS);
    -1
}

/// C's `execve`.
///
/// # Safety
/// As POSIX's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let Some(next) = EXECVE.get() else {
        // SAFETY: the kernel checks the pointers.
        return unsafe { libc::syscall(libc::SYS_execve, path, argv, envp) as c_int };
    };
    // SAFETY: the caller keeps `execve`'s contract.
    let exec = |envp| unsafe { next(path, argv, envp) };
    // SAFETY: as above.
    unsafe { with_environment(envp, exec) }
}

/// C's `execv`.
///
/// # Safety
/// As POSIX's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execv(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller keeps `execv`'s contract.
    unsafe { execve(path, argv, inherited()) }
}

/// glibc's `execvpe`.
///
/// # Safety
/// As `execve`'s.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let Some(next) = EXECVPE.get() else {
        return unsupported();
    };
    // SAFETY: the caller keeps `execvpe`'s contract.
    let exec = |envp| unsafe { next(file, argv, envp) };
    // SAFETY: as above.
    unsafe { with_environment(envp, exec) }
}

/// C's `execvp`.
///
/// # Safety
/// As POSIX's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvp(file: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller keeps `execvp`'s contract.
    unsafe { execvpe(file, argv, inherited()) }
}

/// POSIX's `fexecve`.
///
/// # Safety
/// As POSIX's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fexecve(fd: c_int, argv: Strings, envp: Strings) -> c_int {
    let Some(next) = FEXECVE.get() else {
        return unsupported();
    };
    // SAFETY: the caller keeps `fexecve`'s contract.
    let exec = |envp| unsafe { next(fd, argv, envp) };
    // SAFETY: as above.
    unsafe { with_environment(envp, exec) }
}

/// Linux's `execveat`.
///
/// # Safety
/// As Linux's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execveat(
    directory: c_int,
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    flags: c_int,
) -> c_int {
    let Some(next) = EXECVEAT.get() else {
        return unsupported();
    };
    // SAFETY: the caller keeps `execveat`'s contract.
    let exec = |envp| unsafe { next(directory, path, argv, envp, flags) };
    // SAFETY: as above.
    unsafe { with_environment(envp, exec) }
}
