//! What the recorders ask of the operating system, by the same names everywhere.
//!
//! Context: sampled, unless a function says cold. Nothing here touches `errno`
//! in a way the program could see: functions that may fail restore it.
//! Invariant: `linux.rs` and `noop.rs` have the same functions.

#[cfg(all(target_os = "linux", not(miri), not(everprof_loom)))]
mod linux;
#[cfg(all(target_os = "linux", not(miri), not(everprof_loom)))]
pub(crate) use linux::*;

#[cfg(not(all(target_os = "linux", not(miri), not(everprof_loom))))]
mod noop;
#[cfg(not(all(target_os = "linux", not(miri), not(everprof_loom))))]
pub(crate) use noop::*;
