//! Makes every primitive wait and asks whether the wait was seen. Ends with `ok`, or
//! names what was not seen.
//!
//! Whoever waits here can go on only after it has been seen: nothing depends on time, but
//! for how long to try before giving up.

// Static programs have their C library's own functions, through which nobody unwinds.
#[cfg(not(target_feature = "crt-static"))]
mod cancelled;
mod others;
mod standard;

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use everprof_core::global;
use everprof_core::settings::Name;
use everprof_core::waits::Operation;

/// Long enough for the slowest machine under an emulator; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `wait` in a thread, which must come to wait in an `operation`, then `release`.
fn seen(
    name: &str,
    operation: Operation,
    wait: impl FnOnce() + Send + 'static,
    release: impl FnOnce(),
) {
    let before = ended(operation);
    let tid = Arc::new(AtomicU32::new(0));
    let theirs = tid.clone();
    let waiter = thread::spawn(move || {
        // SAFETY: no preconditions.
        theirs.store(unsafe { libc::gettid() }.cast_unsigned(), Ordering::Relaxed);
        wait();
    });
    let begin = Instant::now();
    // Some are over before anybody looks.
    while !is_blocked(tid.load(Ordering::Relaxed), operation) && ended(operation) == before {
        if begin.elapsed() > PATIENCE {
            println!("{name}: not seen");
            exit(1);
        }
        // No yield: it would be seen, too.
        std::hint::spin_loop();
    }
    release();
    if waiter.join().is_err() {
        println!("{name}: the waiter panicked");
        exit(1);
    }
}

fn is_blocked(tid: u32, operation: Operation) -> bool {
    let mut found = false;
    global::waits().for_each_blocked(|blocked| {
        found |= blocked.tid == tid && blocked.operation == operation;
    });
    found
}

fn ended(operation: Operation) -> u64 {
    let block = global::waits().block();
    let of_kind = block
        .iter()
        .filter(|bucket| bucket.operation == Some(operation));
    of_kind.map(|bucket| bucket.waits.samples).sum()
}

/// Lets go of a result that is of no interest.
fn done<T>(_: T) {}

fn main() {
    let settings = global::store().settings();
    settings.set(Name::BlockPeriod, 1);
    settings.set(Name::WaitOperations, !0);
    standard::all();
    others::all();
    #[cfg(not(target_feature = "crt-static"))]
    cancelled::all();
    println!("ok");
}
