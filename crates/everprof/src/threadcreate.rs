//! Who creates threads: the profile `threadcreate` and its records.
//!
//! Every thread is counted, none is sampled: by the stack that created it, how many
//! threads came from there, how many of them live, and what CPU time all of them took.
//!
//! Thread creation is seen where the feature `interpose` is on and the program is not
//! linked statically. Threads that were there before, or came by a raw `clone`, stand under
//! the frame `everprof::spawn::unknown` as long as they live; the process's first
//! thread stands under `everprof::spawn::main`. Everprof's own threads are in no profile.
//!
//! Context: cold. Invariant: no record has more threads live than created.
//! Source: Go's `runtime.ThreadCreateProfile`, whose stacks have been empty since 2013.

use std::borrow::Cow;

use everprof_core::{global, lost};

use crate::assemble;
use crate::profile::{LongText, Source, Time};
use crate::start::LeftOut;

/// The threads that one stack created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadRecord<'a> {
    /// Threads created.
    pub created: u64,
    /// Of these, the ones that have not ended.
    pub live: u64,
    /// The CPU time that all of them took, up to this instant or to their end. Destructors
    /// that run at a thread's end may be missing; so is, of a thread whose end nobody
    /// told (see [`unseen_ends`](Self::unseen_ends)), what it took since it was last
    /// looked at.
    pub cpu_nanos: u64,
    /// Threads whose end was only found by looking for them.
    pub unseen_ends: u64,
    /// Return addresses, the creation first; or one number below 64, for threads that
    /// nobody was seen to create.
    pub stack: Cow<'a, [u64]>,
}

/// The records of this instant.
///
/// # Overhead
///
/// A system call for each thread there is, on this thread.
///
/// ```
/// std::thread::spawn(|| ()).join().expect("no panic");
/// let live: u64 = everprof::threadcreate::records().iter().map(|record| record.live).sum();
/// assert!(live >= 1);
/// ```
#[must_use]
pub fn records() -> Vec<ThreadRecord<'static>> {
    let _left_out = LeftOut::new();
    let snapshot = global::spawn().snapshot();
    let mut records: Vec<_> = snapshot
        .iter()
        .map(|bucket| ThreadRecord {
            created: bucket.created,
            live: bucket.live,
            cpu_nanos: bucket.cpu_nanos,
            unseen_ends: bucket.unseen_ends,
            stack: Cow::Owned(bucket.stack.to_vec()),
        })
        .collect();
    let others = &snapshot.others;
    let mut push = |frame, threads, cpu_nanos| {
        if threads > 0 {
            records.push(ThreadRecord {
                created: threads,
                live: threads,
                cpu_nanos,
                unseen_ends: 0,
                stack: Cow::Owned(vec![frame]),
            });
        }
    };
    let main = others.main_cpu_nanos;
    push(
        lost::MAIN_THREAD,
        u64::from(main.is_some()),
        main.unwrap_or(0),
    );
    push(
        lost::UNKNOWN_CREATOR,
        others.unknown,
        others.unknown_cpu_nanos,
    );
    records
}

/// Threads, by who created them.
pub(crate) static THREADCREATE: Source = Source {
    name: "threadcreate",
    description: "Where threads were created: how many, how many of them live, and what \
        CPU time they used",
    time: Time::Cumulative,
    has_age: false,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::None,
    count: || global::spawn().snapshot().iter().count(),
    take: |_| Ok(assemble::spawn()),
};
