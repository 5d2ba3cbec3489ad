//! At a panic: the stacks of all threads.
//!
//! ```text
//! the thread that panics            ours
//!   hook ─→ the hook before
//!        ─→ first of the process? ─→ a thread that writes stacks
//!        ←─ done, or LONGEST passed ─┘   and a line says so
//! ```
//!
//! Context: cold, within a panic: the thread may hold any lock of the program's, such as
//! that of stderr. So another thread writes, and this one waits for it only so long.
//! Invariant: at most one dump a process; what goes wrong in it goes no further.
//! Source: Go's `GOTRACEBACK=all`.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::panic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::{Speaker, tell, this_thread};
use crate::start;

/// From now on the process's first panic writes the stacks of all threads to stderr, that
/// of the panicking thread first, after what the panic hook of before has done.
///
/// Later panics only do what they did without. A panic that nobody sees, because it is
/// caught, is one too. The thread that panics waits until the stacks are written, but
/// not longer than ten seconds, after which a line on stderr says that they are late. A hook that is set later takes this one's place,
/// unless it calls it. Called by a thread that is panicking, this does nothing.
///
/// # Overhead
///
/// None until the panic; then that of [`write`](super::write()).
///
/// ```
/// everprof::stacks::on_panic();
/// ```
pub fn on_panic() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    if thread::panicking() {
        return;
    }
    INSTALLED.get_or_init(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            before(panic);
            once();
        }));
    });
}

/// More than the debug information of a large program takes to read on a machine that is busy
/// with other things: in a test of ours, five seconds.
const LONGEST: Duration = Duration::from_secs(10);

fn once() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // Relaxed: a flag of its own. A panic of the thread below finds it set, too.
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let panicking = this_thread();
    let (done, written) = channel::<()>();
    let begun = start::spawn("everprof-panic", move || {
        tell(Speaker::Panic, panicking);
        drop(done);
    });
    let missing = match begun {
        Ok(_) => late(&written, LONGEST),
        Err(error) => Some(format!("no stacks: no thread can be started: {error}")),
    };
    if let Some(missing) = missing {
        say(&format!(
            "everprof: thread {panicking} panicked; {missing}\n"
        ));
    }
}

/// Waits until the stacks are written. What is to be said where they are not, after so long.
fn late(written: &Receiver<()>, longest: Duration) -> Option<String> {
    let outcome = written.recv_timeout(longest);
    (outcome == Err(RecvTimeoutError::Timeout)).then(|| {
        format!(
            "the stacks are not written after {} s: the thread goes on, and they may follow",
            longest.as_secs()
        )
    })
}

/// A line on stderr past std's lock of it, which whoever writes the stacks may hold.
fn say(line: &str) {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    // It may be closed, or no descriptor be left; then there is nobody to tell.
    let _ = stderr.and_then(|stderr| File::from(stderr).write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_that_are_late_are_told_of_and_written_ones_are_not() {
        let (done, written) = channel();
        let told = late(&written, Duration::ZERO);
        assert!(told.is_some_and(|line| line.contains("not written after 0 s")));
        drop(done);
        assert_eq!(late(&written, Duration::from_secs(600)), None);
    }
}
