//! A dump: values, whoever made them.
//!
//! Context: cold. Invariant: a stack is a range of `frames`, so that a dump of
//! thousands of threads is two allocations and not thousands.

use std::sync::Arc;

use super::lock_address::LockAddress;
use crate::stack::StackEnd;
use crate::waits::{Blocked, Operation};

/// All threads of this process at about one time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dump(Arc<Collected>);

impl Dump {
    pub(super) fn new(collected: Collected) -> Self {
        Self(Arc::new(collected))
    }

    /// The threads, the oldest ones first as far as the kernel lists them so.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Thread<'_>> {
        self.0.rows.iter().map(|row| Thread {
            id: row.id,
            name: row.name.bytes(),
            state: row.state,
            source: row.source,
            stack: self
                .0
                .frames
                .get(row.first..row.first + row.depth)
                .unwrap_or(&[]),
            end: row.end,
            labels: row.labels,
            creator: row.creator,
        })
    }

    /// How many threads there are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.rows.len()
    }

    /// Whether there are none: never so where dumps are supported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.rows.is_empty()
    }

    /// Whether this platform can tell of threads at all. On Linux that needs /proc.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.0.supported
    }

    /// Whether the list of threads was read without a gap. False where so many threads
    /// came and went that it never stood still: some may be missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.complete
    }

    /// When it was begun: nanoseconds since the Unix epoch.
    #[must_use]
    pub fn unix_nanos(&self) -> u64 {
        self.0.unix_nanos
    }

    /// How long it took.
    #[must_use]
    pub fn duration_nanos(&self) -> u64 {
        self.0.duration_nanos
    }
}

/// One thread of a [`Dump`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Thread<'d> {
    /// The kernel's number of it, which debuggers and `top -H` show.
    pub id: u32,
    /// At most 15 bytes; empty if the thread was gone before it could be read.
    pub name: &'d [u8],
    /// What the kernel said it does.
    pub state: State,
    /// How the stack was had, or why it was not.
    pub source: Source,
    /// Leaf first, as [`crate::stack::capture`] writes it; empty where it is missing.
    pub stack: &'d [u64],
    /// Why the stack has no more frames.
    pub end: StackEnd,
    /// The set of the labels that were in force when its stack was as it is told here; 0: none.
    /// `None`: not known.
    pub labels: Option<u32>,
    /// The addresses, leaf first, of the stack that created it, if that was seen.
    pub creator: Option<&'static [u64]>,
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It runs, or waits for a processor.
    Running,
    /// It sleeps in a system call.
    InCall {
        /// Of the call, on this architecture.
        number: u32,
        /// What the call was given.
        arguments: [u64; 6],
    },
    /// It sleeps, and not in a system call: until a page of memory is there.
    InFault,
    /// The kernel does not say, or was not asked: a wait that is recorded says more
    /// ([`Source::Recorded`]).
    Unknown,
}

/// Where a stack is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The thread that made the dump, and walked itself.
    Itself,
    /// The thread slept, and was not disturbed.
    Outside,
    /// The thread was signalled and walked itself.
    Signalled {
        /// How long that held it.
        held_nanos: u64,
    },
    /// It waits in an operation that was recorded when it began, and was not disturbed.
    Recorded(RecordedWait),
    /// There is no stack.
    Missing(Missing),
}

/// A wait that was recorded before its thread fell asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedWait {
    /// Nanoseconds of the monotonic clock when it began ([`crate::waits::now_nanos`]).
    pub since_nanos: u64,
    /// What is waited in.
    pub operation: Operation,
    /// Address of the lock or word that is waited for; the one of 0: none.
    pub address: LockAddress,
    /// The set of labels in force when it began; 0: none.
    pub labels: u32,
}

impl From<&Blocked> for RecordedWait {
    fn from(blocked: &Blocked) -> Self {
        Self {
            since_nanos: blocked.since_nanos,
            operation: blocked.operation,
            address: LockAddress::new(blocked.address as u64),
            labels: blocked.labels,
        }
    }
}

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// The thread ended while it was looked at.
    Exited,
    /// It runs, and blocks the signal that would ask it.
    SignalBlocked,
    /// It was asked and did not answer in time.
    NoAnswer,
    /// It runs a handler on a signal stack that has no room for a walk.
    NoRoom,
    /// It was ready to run and did not get a processor in time, so that nobody knows
    /// whether it is in a call that a signal would end.
    NoProcessor,
    /// It changed between sleeping and running whenever it was looked at.
    Restless,
    /// No signal can be sent: all realtime signals are taken, or too many are queued.
    NoSignal,
}

impl Missing {
    /// What a report says.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Exited => "exited meanwhile",
            Self::SignalBlocked => "running, with the signal blocked",
            Self::NoAnswer => "asked, no answer in time",
            Self::NoRoom => "on a signal stack without room for a walk",
            Self::NoProcessor => "ready to run, no processor in time",
            Self::Restless => "never the same at two looks",
            Self::NoSignal => "no signal to ask it with",
        }
    }
}

/// What a collection brought.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) rows: Vec<Row>,
    pub(super) frames: Vec<u64>,
    pub(super) supported: bool,
    pub(super) complete: bool,
    pub(super) unix_nanos: u64,
    pub(super) duration_nanos: u64,
}

/// One thread, its stack in `frames`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: u32,
    pub(super) name: Name,
    pub(super) state: State,
    pub(super) source: Source,
    pub(super) first: usize,
    pub(super) depth: usize,
    pub(super) end: StackEnd,
    pub(super) labels: Option<u32>,
    pub(super) creator: Option<&'static [u64]>,
}

/// A thread's name. Linux keeps 15 bytes of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name {
    bytes: [u8; 15],
    length: u8,
}

impl Name {
    /// A line's bytes without its end, as many as fit.
    #[cfg_attr(
        not(all(target_os = "linux", not(miri))),
        allow(dead_code, reason = "no names are read there")
    )]
    pub(super) fn from_line(line: &[u8]) -> Self {
        let mut name = Self::default();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        for (to, from) in name.bytes.iter_mut().zip(line) {
            *to = *from;
            name.length += 1;
        }
        name
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_the_line_or_at_fifteen_bytes() {
        assert_eq!(Name::from_line(b"worker\n").bytes(), b"worker");
        assert_eq!(Name::from_line(b"").bytes(), b"");
        assert_eq!(
            Name::from_line(b"abcdefghijklmnopqrst").bytes(),
            b"abcdefghijklmno"
        );
    }
}
