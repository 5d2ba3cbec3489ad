//! `exec`, before which threads are not asked for their stacks any more: the next program
//! would get the signal ([`threads::before_exec`]).
//!
//! Context: signal. Invariant: see `interpose`. A child of `fork` or `vfork` goes straight
//! through.
//!
//! The functions with a list of arguments come here by [`lists`](super::lists). Under the
//! agent, which follows a program through `exec`, all of these are its.

use core::ffi::{c_char, c_int};

use super::super::errno;
use super::next::{Function2, Function3, Function5, Next};
use crate::threads;

type Strings = *const *const c_char;
type Path = *const c_char;

static EXECV: Next<Function2<Path, Strings, c_int>> = Next::by_errno(c"execv");
static EXECVP: Next<Function2<Path, Strings, c_int>> = Next::by_errno(c"execvp");
static EXECVE: Next<Function3<Path, Strings, Strings, c_int>> = Next::by_errno(c"execve");
static EXECVPE: Next<Function3<Path, Strings, Strings, c_int>> = Next::by_errno(c"execvpe");
static FEXECVE: Next<Function3<c_int, Strings, Strings, c_int>> = Next::by_errno(c"fexecve");
static EXECVEAT: Next<Function5<c_int, Path, Strings, Strings, c_int, c_int>> =
    Next::by_errno(c"execveat");

pub(super) fn resolve() {
    EXECV.look_up();
    EXECVP.look_up();
    EXECVE.look_up();
    EXECVPE.look_up();
    FEXECVE.look_up();
    EXECVEAT.look_up();
}

/// C's `execv`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execv(path: Path, arguments: Strings) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    quietly(|| unsafe { EXECV.get()(path, arguments) })
}

/// C's `execvp`, with which std replaces the process.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execvp(file: Path, arguments: Strings) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    quietly(|| unsafe { EXECVP.get()(file, arguments) })
}

/// C's `execve`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execve(path: Path, arguments: Strings, variables: Strings) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    quietly(|| unsafe { EXECVE.get()(path, arguments, variables) })
}

/// glibc's `execvpe`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execvpe(file: Path, arguments: Strings, variables: Strings) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    quietly(|| unsafe { EXECVPE.get()(file, arguments, variables) })
}

/// POSIX's `fexecve`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fexecve(file: c_int, arguments: Strings, variables: Strings) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    quietly(|| unsafe { FEXECVE.get()(file, arguments, variables) })
}

/// Linux's `execveat`.
///
/// # Safety
/// As Linux's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execveat(
    directory: c_int,
    path: Path,
    arguments: Strings,
    variables: Strings,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract, which is the next definition's too.
    quietly(|| unsafe { EXECVEAT.get()(directory, path, arguments, variables, flags) })
}

/// Runs `call`, which does not come back unless it fails.
#[inline(always)]
fn quietly(call: impl FnOnce() -> c_int) -> c_int {
    let quiet = errno::kept(threads::before_exec);
    let status = call();
    // A few atomic instructions: `errno` stays.
    drop(quiet);
    status
}
