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

/// The word at an address of this process; none where nothing can be read. Cold.
pub(crate) fn read_word(address: u64) -> Option<u64> {
    let mut word = [0];
    let copied = copy(process_id().cast_signed(), address, &mut word);
    (copied == size_of::<u64>()).then_some(word[0])
}
