//! What each thread is doing: the profiles `threads` and `goroutine`.
//!
//! No thread is stopped for it. Those that sleep are looked at from outside and learn
//! nothing of it; those that run walk their own stacks in a signal handler, which takes
//! a few microseconds of each. docs/threads.md tells which system calls could notice.
//! [`stacks`](crate::stacks) writes it as text.
//!
//! Context: cold. Invariant: every thread is in the profile, with a stack or with the
//! reason why it has none.
//! Source: Go's goroutine profile, for threads.

use everprof_profile::LabelValue;
use everprof_profile::stacks::{CREATOR_LABEL, ID_LABEL, NAME_LABEL, STATE_LABEL};

use crate::error::{Error, Kind};
use crate::profile::{Ask, LongText, Names, Source, Time};
use crate::start::LeftOut;
use crate::{assemble, config};

/// A thread, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadRecord {
    /// The kernel's number of it.
    pub id: u32,
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: String,
    /// What it does: `running`, `mutex 0x7f2a10, 3.2 s`, `io`; or why it has no stack.
    pub state: String,
    /// The addresses of the calls that it is in, innermost first; a number below 64 says
    /// that there is more that was not recorded, or that there is no stack.
    pub stack: Vec<u64>,
    /// The labels in force where its stack is ([`label`](crate::label)), as far as they are
    /// known: of threads whose beginning was seen, of those that run, and of those that wait
    /// in something recorded.
    pub labels: Vec<(String, String)>,
}

/// All threads as they are now, but for everprof's own.
///
/// # Errors
///
/// Where the platform does not tell of threads ([`Error::is_unsupported`]).
///
/// # Overhead
///
/// About 6 to 12 µs a sleeping thread, on the calling one, and 5 more where its name has to be
/// read; a running thread is held for about a microsecond (the bench `threads` of
/// `everprof-core`). Symbol tables are read, too, for places that no profile had before.
///
/// ```
/// for thread in everprof::threads::records()? {
///     println!("{} {}: {}", thread.id, thread.name, thread.state);
/// }
/// # Ok::<(), everprof::Error>(())
/// ```
pub fn records() -> Result<Vec<ThreadRecord>, Error> {
    let _left_out = LeftOut::new();
    let profile = assemble::threads("threads", &Ask::default())?;
    let profile = assemble::finish(profile, Names::Table, &[]);
    let records = profile.samples().map(|sample| {
        let text = |key| sample.string_label(key).unwrap_or_default().to_owned();
        let id = sample.number_label(ID_LABEL).unwrap_or(0);
        let stack = sample.stack();
        ThreadRecord {
            id: u32::try_from(id).unwrap_or(0),
            name: text(NAME_LABEL),
            state: text(STATE_LABEL),
            stack: stack.map(|at| profile.location(at).address).collect(),
            labels: sample
                .labels()
                .filter_map(|label| match label.value {
                    LabelValue::String(value) if !OWN_LABELS.contains(&label.key) => {
                        Some((label.key.to_owned(), value.to_owned()))
                    }
                    _ => None,
                })
                .collect(),
        }
    });
    Ok(records.collect())
}

/// Chooses the signal that running threads are asked for their stacks with, from the next
/// dump on.
///
/// At first it is a realtime signal that nobody handles or ignores, the last such one. A
/// handler that the program has for the chosen one keeps getting what is not everprof's.
///
/// # Errors
///
/// Where it is no realtime signal ([`Error::is_invalid`]): others are merged, and carry no word
/// by which an answer is told from one to an earlier question.
///
/// ```
/// assert!(everprof::threads::set_signal(10).is_err(), "SIGUSR1 on Linux");
/// ```
pub fn set_signal(signal: i32) -> Result<(), Error> {
    if !config::is_realtime(signal) {
        return Err(Error::new(
            Kind::Invalid,
            format!(
                "cannot ask threads with signal {signal}: expected a realtime signal, such as \
                 libc::SIGRTMIN() + 5"
            ),
        ));
    }
    assemble::ask_threads_with(signal);
    Ok(())
}

/// What the profile says of each thread as labels, and the program did not set.
const OWN_LABELS: [&str; 3] = [NAME_LABEL, STATE_LABEL, CREATOR_LABEL];

/// Threads now.
pub(crate) static THREADS: Source = Source {
    name: "threads",
    description: "The stacks of all threads now. `debug=2` gives one paragraph a thread, \
        with what it does and since when, as a panic prints it.",
    time: Time::Instant,
    has_age: false,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::Threads,
    count: assemble::thread_count,
    take: |ask| assemble::threads("threads", ask),
};

/// The same, by the name that tools written for Go ask for.
pub(crate) static GOROUTINE: Source = Source {
    name: "goroutine",
    description: "Watched async tasks, and threads, for tools that ask for Go's goroutines",
    count: assemble::goroutine_count,
    take: assemble::goroutine,
    ..THREADS
};
