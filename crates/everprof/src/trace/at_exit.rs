//! The end of a trace at the end of the process.
//!
//! Context: cold: `exit` calls it, on whichever thread that was. Invariant: it waits for a
//! bounded time, and takes no lock that somebody could hold.
//!
//! A process that ends by `_exit`, or is killed, does not come here; what its trace has been
//! written by then is read up to there.

use std::process;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::writer::Told;
use crate::start;

/// The trace that is being taken.
static CURRENT: Mutex<Option<Current>> = Mutex::new(None);

struct Current {
    told: Weak<Told>,
    thread: Thread,
    process: u32,
}

/// The longest that a program's end waits for its trace: for a pipe whose reader is slow,
/// say.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sees to it that the trace is whole if the process exits before it is stopped.
pub(super) fn end_in_time(told: &Arc<Told>, thread: &Thread) {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        start::call_at_exit(at_exit);
    });
    if let Ok(mut current) = CURRENT.lock() {
        *current = Some(Current {
            told: Arc::downgrade(told),
            thread: thread.clone(),
            process: process::id(),
        });
    }
}

extern "C" fn at_exit() {
    // Held by somebody who starts a trace now, or did in the process that forked this one.
    let Ok(mut current) = CURRENT.try_lock() else {
        return;
    };
    let Some(current) = current.take() else {
        return;
    };
    let Some(told) = current
        .told
        .upgrade()
        .filter(|_| current.process == process::id())
    else {
        return;
    };
    told.ask(&current.thread);
    let began = Instant::now();
    while !told.is_over() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_micros(200));
    }
}
