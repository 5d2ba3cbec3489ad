//! What a trace tells of a thread before its events: its number, and its name.
//!
//! Context: cold. Invariant: a thread is told of before its first event.

use everprof_core::trace::buffers::Writer;
use everprof_profile::trace::Thread;
use everprof_profile::trace::encode::{self, Events};

/// A thread that the trace has told of.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) number: u32,
    pub(super) name: String,
    /// The round of looks in which that was last asked for.
    pub(super) named: u32,
    pub(super) events: Events,
}

/// Stands for a thread that has recorded nothing; 0 for all of them.
pub(super) fn without_buffer(tid: u32) -> Writer {
    Writer {
        slot: u32::MAX,
        taken: 0,
        tid,
    }
}

pub(super) fn tell_thread(out: &mut Vec<u8>, tid: u32, told: &Told) {
    let thread = Thread {
        tid,
        name: told.name.clone(),
    };
    encode::thread(out, told.number, &thread);
}

/// The name of a thread, while there is one.
pub(super) fn name_of(tid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/self/task/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
}
