//! Roster: which threads the process has, asked for as seldom as will do.
//!
//! Context: cold. Invariant: a thread that was there when `list` was called, and was not
//! before, is in a list by the `EVERY`th call after, and nearly always in that one.
//!
//! The list costs 0.3 µs a thread, too much to read 200 times a second where there are
//! thousands. Two figures tell, at 1 µs together, whether it can have changed: how many
//! threads there are (the links of `/proc/self/task`), and which number the system gave
//! out last (`/proc/loadavg`): no thread begins without a new one. Where the second is
//! made up (containers put other files there), one birth and one death can pass unseen:
//! so every so often the list is read all the same.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::sys;

/// Calls after which the list is read whatever the figures say: 40 ms, as the session
/// calls every 5.
const EVERY: u32 = 8;

/// What was seen at the last look.
#[derive(Debug)]
pub(super) struct Roster {
    threads: File,
    numbers: Option<File>,
    marks: Option<Marks>,
    calls: u32,
}

/// Figures that are equal where no thread began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    threads: u64,
    last_number: u64,
}

impl Roster {
    /// Fails where there is no `/proc`.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            threads: File::open("/proc/self/task")?,
            numbers: File::open("/proc/loadavg").ok(),
            marks: None,
            calls: 0,
        })
    }

    /// The threads now; none if they are the same as at the last call.
    pub(super) fn list(&mut self) -> Option<Vec<u32>> {
        // Read before the list: who begins in between changes them once more.
        let marks = self.marks();
        self.calls += 1;
        if marks.is_some() && marks == self.marks && !self.calls.is_multiple_of(EVERY) {
            return None;
        }
        let threads = sys::thread_ids()?;
        self.marks = marks;
        Some(threads)
    }

    fn marks(&self) -> Option<Marks> {
        let mut text = [0; 128];
        let length = self.numbers.as_ref()?.read_at(&mut text, 0).ok()?;
        Some(Marks {
            threads: self.threads.metadata().ok()?.nlink(),
            last_number: last_number(text.get(..length)?)?,
        })
    }
}

/// `0.20 0.18 0.12 1/80 11206`: the last field.
fn last_number(load: &[u8]) -> Option<u64> {
    let text = str::from_utf8(load).ok()?;
    text.split_whitespace().last()?.parse().ok()
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn last_field_is_the_last_number() {
        assert_eq!(last_number(b"0.20 0.18 0.12 1/80 11206\n"), Some(11206));
        assert_eq!(last_number(b""), None);
    }

    #[test]
    fn thread_that_begins_is_on_the_next_list() {
        let mut roster = Roster::open().unwrap();
        assert!(roster.list().unwrap().contains(&sys::thread_id()));
        for _ in 0..50 {
            let (tell, told) = std::sync::mpsc::channel();
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let thread = std::thread::spawn(move || {
                tell.send(sys::thread_id()).unwrap();
                let _ = ended.recv();
            });
            let tid = told.recv().unwrap();
            assert!(roster.list().unwrap().contains(&tid));
            drop(end);
            thread.join().unwrap();
        }
    }
}
