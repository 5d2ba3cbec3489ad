//! Names of threads: read again only where one may have changed.
//!
//! Context: cold; one collection at a time.
//! Invariant: a name that its own thread changed is told from the next dump on. One that
//! another thread or process changed is told from the next dump on in which its thread has run
//! since, or that comes [`LONGEST_NANOS`] after it was read.
//!
//! A thread's name is a file of the kernel's, and to open, read and close it took half of what a
//! dump took of a thread whose wait is recorded. But a thread that changes its name runs,
//! and its processor time, which a dump asks for anyway, is not what it was. It is of
//! nanoseconds, so that a new thread with an old one's number is told apart as well.
//!
//! *Rejected*: to see the program's calls of `pthread_setname_np` and `prctl`: a thread may make
//! the system call itself, or write to the file.

use std::collections::HashMap;

use super::tasks::{self, Tasks};
use crate::sys;
use crate::threads::dump::Name;

/// What threads were called in earlier dumps.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<u32, Known>,
    /// Of the dump under way; those of threads that it does not meet go with the old ones.
    met: HashMap<u32, Known>,
}

/// 40 bytes a thread with its number.
#[derive(Clone, Copy, Debug)]
struct Known {
    name: Name,
    /// The thread's processor time before its name was read.
    cpu_nanos: u64,
    read_nanos: u64,
}

impl Names {
    /// A dump begins.
    pub(super) fn begin(&mut self) {
        self.known = std::mem::take(&mut self.met);
        self.met.reserve(self.known.len());
    }

    /// The name of `thread`, which had taken so much processor time just before, if it slept.
    /// Empty: it is gone.
    pub(super) fn of(&mut self, tasks: &Tasks, thread: u32, cpu_nanos: Option<u64>) -> Name {
        let read = || {
            let mut line = [0; 32];
            Name::from_line(tasks.read(thread, tasks::COMM, &mut line).unwrap_or(&[]))
        };
        let Some(cpu_nanos) = cpu_nanos else {
            return read();
        };
        self.remember(thread, cpu_nanos, sys::monotonic_nanos(), read)
    }

    fn remember(
        &mut self,
        thread: u32,
        cpu_nanos: u64,
        now_nanos: u64,
        read: impl FnOnce() -> Name,
    ) -> Name {
        let is_same = |known: &&Known| {
            known.cpu_nanos == cpu_nanos
                && now_nanos.saturating_sub(known.read_nanos) < LONGEST_NANOS
        };
        let known = match self.known.get(&thread).filter(is_same) {
            Some(known) => *known,
            None => Known {
                name: read(),
                cpu_nanos,
                read_nanos: now_nanos,
            },
        };
        self.met.insert(thread, known);
        known.name
    }
}

/// Dumps that are rarer than this need not be the fastest.
const LONGEST_NANOS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_line(text.as_bytes())
    }

    /// What `thread` is called in a dump in which its file says `now`.
    fn told(names: &mut Names, thread: u32, cpu_nanos: u64, at_nanos: u64, now: &str) -> String {
        names.begin();
        let told = names.remember(thread, cpu_nanos, at_nanos, || name(now));
        String::from_utf8_lossy(told.bytes()).into_owned()
    }

    #[test]
    fn name_is_read_again_when_its_thread_has_run() {
        let mut names = Names::default();
        assert_eq!(told(&mut names, 7, 100, 1, "one"), "one");
        assert_eq!(told(&mut names, 7, 100, 2, "not read"), "one");
        assert_eq!(told(&mut names, 7, 101, 3, "two"), "two");
        assert_eq!(told(&mut names, 7, 101, 4, "not read"), "two");
    }

    #[test]
    fn name_that_others_changed_is_read_after_a_while() {
        let mut names = Names::default();
        assert_eq!(told(&mut names, 7, 100, 1, "one"), "one");
        assert_eq!(told(&mut names, 7, 100, LONGEST_NANOS, "two"), "one");
        assert_eq!(told(&mut names, 7, 100, 1 + LONGEST_NANOS, "two"), "two");
        // Not that it is a dump that counts, but when it was read.
        let later = 2 * LONGEST_NANOS;
        assert_eq!(told(&mut names, 7, 100, later, "not read"), "two");
    }

    #[test]
    fn threads_that_a_dump_does_not_meet_are_forgotten() {
        let mut names = Names::default();
        assert_eq!(told(&mut names, 7, 100, 1, "one"), "one");
        assert_eq!(told(&mut names, 8, 100, 2, "other"), "other");
        assert_eq!(told(&mut names, 7, 100, 3, "new"), "new");
        assert_eq!((names.known.len(), names.met.len()), (1, 1));
    }
}
