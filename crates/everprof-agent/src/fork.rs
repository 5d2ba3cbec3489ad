//! Takes note of a fork in the child.
//!
//! Context: signal: the child may have been forked in a handler, and other
//! threads' locks are never released in it.
//! Invariant: a child never writes into its parent's tables.
//!
//! The arena is a shared mapping, so the child's records would appear in the
//! parent's profile. The C library calls what it is given before `fork` returns in
//! the child: without `--children` it goes dormant, with it it starts an arena
//! of its own. A child made by the bare system call does not come through
//! here; the recorder itself notices such a child at its first sample.
//! A child of `vfork` shares all our memory and is not told: what it allocates
//! is its parent's.

/// Has the C library call `in_child` in every child.
pub(crate) fn watch(in_child: unsafe extern "C" fn()) {
    // SAFETY: a function lives as long as the process: a preloaded library is never
    // unloaded.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}
