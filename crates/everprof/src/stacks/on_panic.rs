//! At a panic: the stacks of all threads.
//!
//! ```text
//! the thread that panics            ours
//!   hook ─→ the hook before
//!        ─→ first of the process? ─→ a thread that writes stacks
//!        ←─ done, or LONGEST passed ─┘
//! ```
//!
//! Context: cold, within a panic: the thread may hold any lock of the program's, such as
//! that of stderr. So another thread writes, and this one waits for it only so long.
//! Invariant: at most one dump a process; what goes wrong in it goes no further.
//! Source: Go's `GOTRACEBACK=all`.

use std::panic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::{Speaker, tell, this_thread};
use crate::start;

/// From now on the process's first panic writes the stacks of all threads to stderr, that
/// of the panicking thread first, after what the panic hook of before has done.
///
/// Later panics only do what they did without. A panic that nobody sees, because it is
/// caught, is one too. The thread that panics waits until the stacks are written, but
/// not longer than ten seconds. A hook that is set later takes this one's place,
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
    if begun.is_ok() {
        // Either way there is nothing more to do.
        let _ = written.recv_timeout(LONGEST);
    }
}
