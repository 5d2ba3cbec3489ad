//! `execl`, `execlp`, `execle`: the functions of the `exec` family with a list of arguments,
//! as the functions with an array.
//!
//! Context: signal. Invariant: who stands in front of C's `execv`, `execvp` and `execve` (this
//! crate's `exec`, or the agent, which follows a program through them) stands in front of
//! these, too: they are called by name, with the arguments as they came. The C library's own
//! do not call one another by name.
//!
//! Stable Rust cannot define a function with a list, so that [`platform`] has a few lines of
//! assembly each, which lay the list out as the array that it nearly is.

use core::ffi::{c_char, c_int};

#[cfg_attr(target_arch = "x86_64", path = "lists/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "lists/aarch64.rs")]
mod platform;

/// `execle` once its arguments are an array: the environment stands behind the null.
///
/// # Safety
/// `arguments` is null-terminated and followed by one more pointer.
unsafe extern "C" fn with_variables(path: *const c_char, arguments: *const *const c_char) -> c_int {
    let mut end = arguments;
    // SAFETY: stops at the null that `execle`'s contract demands.
    while !unsafe { *end }.is_null() {
        // SAFETY: not at the null yet.
        end = unsafe { end.add(1) };
    }
    // SAFETY: one more pointer follows the null.
    let after = unsafe { end.add(1) };
    // SAFETY: that pointer is the environment.
    let variables: *const *const c_char = unsafe { *after }.cast();
    // SAFETY: the caller keeps `execle`'s contract.
    unsafe { libc::execve(path, arguments, variables) }
}
