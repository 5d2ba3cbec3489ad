//! Thread state by the platform's own TLS: one memory operand in an executable.
//!
//! Context: hot. Twin of `initial_exec.rs`.

use super::Local;

thread_local! {
    static LOCAL: Local = const { Local::new() };
}

/// Runs `f` with this thread's state.
#[inline(always)]
pub fn with<R>(f: impl FnOnce(&Local) -> R) -> R {
    LOCAL.with(f)
}
