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
use std::thread;
use std::time::{Duration, Instant};

use everprof_core::waits::{self, Operation, told};

/// Long enough for the slowest machine under an emulator; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `wait` in a thread, which must come to wait in an `operation`, then `release`.
fn seen(
    name: &str,
    operation: Operation,
    wait: impl FnOnce() + Send + 'static,
    release: impl FnOnce(),
) {
    let before = told(operation);
    let waiter = thread::spawn(wait);
    let begin = Instant::now();
    while told(operation) == before {
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

/// Lets go of a result that is of no interest.
fn done<T>(_: T) {}

fn main() {
    waits::want_all();
    standard::all();
    others::all();
    #[cfg(not(target_feature = "crt-static"))]
    cancelled::all();
    println!("ok");
}
