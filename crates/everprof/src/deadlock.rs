//! Deadlocks: threads that wait for one another and can never go on.
//!
//! Context: cold. Invariant: what is reported is one, as far as a lock's holder can be
//! reached from its stack or registers (docs/deadlocks.md); what cannot be known is
//! not reported.
//!
//! ```text
//! assemble/deadlocks  who waits for which lock, who may hold it
//!        ─→ graph     which of them can never go on, and in which groups
//! ```

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::assemble::DEADLOCK;
use everprof_core::threads::{LockAddress, WhoAsks};

use crate::assemble::{self, Findings};
use crate::start;

pub(crate) mod graph;

/// Threads each of which waits for what only another of them, or itself, could give.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlock {
    /// Those that wait for one another; one alone waits for itself.
    pub threads: Vec<StuckThread>,
    /// The kernel's numbers of threads that are not part of it and wait for those that
    /// are, without a time limit.
    pub behind: Vec<u32>,
}

/// A thread that can never go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StuckThread {
    /// The kernel's number of it.
    pub id: u32,
    /// Its name, as the kernel has it: at most 15 bytes.
    pub name: String,
    /// What it waits for.
    pub awaits: Awaited,
    /// Since when it waits.
    pub waited: Duration,
    /// Names of the functions on its stack, innermost first, from the symbol tables.
    pub stack: Vec<String>,
}

/// What a stuck thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// A lock.
    Lock {
        /// `mutex` or `rwlock`.
        kind: &'static str,
        /// Of the word that it sleeps on, which is in the lock. Not kept as such: see
        /// [`LockAddress`].
        address: LockAddress,
        /// The threads one of which holds it, if any does: where the lock itself tells
        /// its holder, that one. All of them are stuck.
        held_by: Vec<u32>,
    },
    /// The end of a thread.
    End {
        /// Of this one.
        thread: u32,
    },
}

/// A paragraph: what is the matter, then each thread with its stack.
impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = self.sentence();
        let mut parts = sentence.split("; ");
        writeln!(f, "{}:", parts.next().unwrap_or_default())?;
        for (thread, part) in self.threads.iter().zip(&mut parts) {
            writeln!(f, "{part}")?;
            for function in &thread.stack {
                writeln!(f, "\t{}", clean(function))?;
            }
        }
        parts.try_for_each(|part| writeln!(f, "{part}"))
    }
}

impl Deadlock {
    /// All but the stacks, on one line.
    pub(crate) fn sentence(&self) -> String {
        let mut text = match self.threads.len() {
            1 => format!("{DEADLOCK}a thread waits for itself"),
            count => format!("{DEADLOCK}{count} threads wait for one another"),
        };
        for thread in &self.threads {
            // Writing to a string cannot fail.
            let _ = write!(text, "; {thread}");
        }
        match self.behind.as_slice() {
            [] => {}
            [one] => {
                let _ = write!(text, "; thread {one} waits behind");
            }
            many => {
                let _ = write!(text, "; threads {} wait behind", listed(many, "and"));
            }
        }
        text
    }
}

/// One line, without its end.
impl fmt::Display for StuckThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {}", self.id)?;
        if !self.name.is_empty() {
            write!(f, " \"{}\"", clean(&self.name))?;
        }
        let seconds = self.waited.as_secs_f64();
        match &self.awaits {
            Awaited::Lock {
                kind,
                address,
                held_by,
            } => {
                write!(
                    f,
                    " waits for {kind} {address:#x} for {seconds:.1} s, held by "
                )?;
                match held_by.as_slice() {
                    [one] if *one == self.id => f.write_str("itself"),
                    [one] => write!(f, "thread {one}"),
                    several => write!(f, "one of threads {}", listed(several, "or")),
                }
            }
            Awaited::End { thread } => {
                write!(
                    f,
                    " waits for the end of thread {thread} for {seconds:.1} s"
                )
            }
        }
    }
}

/// `1, 2 or 3`.
fn listed(ids: &[u32], last: &str) -> String {
    let mut text = String::new();
    for (n, id) in ids.iter().enumerate() {
        let gap = match n {
            0 => String::new(),
            n if n + 1 == ids.len() => format!(" {last} "),
            _ => ", ".to_owned(),
        };
        let _ = write!(text, "{gap}{id}");
    }
    text
}

/// Names are the program's, and may hold anything: a part of a line stays one.
fn clean(name: &str) -> String {
    let is_odd = |c: char| c.is_control() || c == ';';
    name.replace(is_odd, "\u{fffd}")
}

/// How long threads must have waited before anybody looks what for. Nothing that is
/// reported hangs on it: it keeps looks at healthy programs cheap, whose locks are had
/// sooner.
pub(crate) const LEAST_WAIT: Duration = Duration::from_millis(100);

/// Looks for deadlocks among threads that have waited at least so long.
///
/// On a thread of ours, so that the one that asks sleeps while it is looked at.
pub(crate) fn find(least_wait: Duration, asker: WhoAsks) -> Findings {
    if !assemble::may_be_deadlocked(least_wait) {
        return Findings::default();
    }
    let (tell, told) = std::sync::mpsc::channel();
    let thread = start::spawn("everprof-locks", move || {
        let _ = tell.send(assemble::deadlocks(least_wait, asker));
    });
    let Ok(thread) = thread else {
        return Findings::default();
    };
    // A panic of ours is not the program's.
    let _ = thread.join();
    told.try_recv().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(id: u32, name: &str, held_by: &[u32]) -> StuckThread {
        StuckThread {
            id,
            name: name.to_owned(),
            awaits: Awaited::Lock {
                kind: "mutex",
                address: LockAddress::new(0x7f10),
                held_by: held_by.to_vec(),
            },
            waited: Duration::from_millis(3250),
            stack: vec!["lock_contended".to_owned(), "app::pay".to_owned()],
        }
    }

    #[test]
    fn a_deadlock_is_told_in_a_paragraph() {
        let mut deadlock = Deadlock {
            threads: vec![thread(7, "pay;er\n", &[8]), thread(8, "", &[7, 8, 9])],
            behind: vec![9, 10],
        };
        deadlock.threads[1].stack.clear();
        let text = "\
deadlock: 2 threads wait for one another:
thread 7 \"pay\u{fffd}er\u{fffd}\" waits for mutex 0x7f10 for 3.2 s, held by thread 8
\tlock_contended
\tapp::pay
thread 8 waits for mutex 0x7f10 for 3.2 s, held by one of threads 7, 8 or 9
threads 9 and 10 wait behind
";
        assert_eq!(deadlock.to_string(), text);
        assert!(!deadlock.sentence().contains('\n'));
    }

    #[test]
    fn a_thread_that_waits_for_itself_is_told_so() {
        let deadlock = Deadlock {
            threads: vec![thread(7, "a", &[7])],
            behind: vec![9],
        };
        let text = deadlock.sentence();
        assert!(text.starts_with("deadlock: a thread waits for itself; "));
        assert!(text.ends_with("held by itself; thread 9 waits behind"));
    }
}
