//! The function that the loader calls before `main`.
//!
//! It stands in `.init_array`, and is called when the program's own objects are
//! in place, before `main` and hence before any thread of the program. What it
//! reads in `EVERPROF` counts from the first allocation of `main` on; what
//! constructors before it allocated was counted by the default period.
//!
//! Context: cold. Invariant: what this thread allocates in here is not the
//! program's and is left out of the profile.

use std::hint::black_box;
use std::mem::forget;

use everprof_core::{clock, global, local};

use super::{LeftOut, complain};
use crate::config::{Config, VARIABLE};
use crate::{config, dump, http, taskblock, tasks, trace, waits};

/// The loader passes arguments that we have no use for; by the C calling
/// conventions of our platforms a callee may ignore them.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(
    target_vendor = "apple",
    unsafe(link_section = "__DATA,__mod_init_func")
)]
static CONSTRUCTOR: extern "C" fn() = on_start;

/// `extern "C"`: a panic in here ends the process instead of unwinding into the
/// loader; nothing in here is expected to panic.
///
/// Does nothing but choose a clock unless the program's allocator is an [`Alloc`](crate::Alloc):
/// elsewhere there is nothing to be early for, and a program that only reads
/// recordings must not open doors.
extern "C" fn on_start() {
    // When it ends, so does the gap that a constructor before this one may have
    // begun.
    let _left_out = LeftOut::new();
    // Waits are recorded whatever the allocator is.
    clock::begin();
    if allocations_are_counted() {
        let told = config::told();
        if let Some(limit) = told.memory_limit_bytes {
            // It was told in time unless a constructor before this one made a sample.
            global::store().set_memory_limit(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        if let Some(depth) = told.depth {
            everprof_core::stack::set_depth_limit(depth);
        }
        if let Some(period) = told.heap_period_bytes {
            global::heap().set_period(period);
        }
        waits::heed(told);
        taskblock::heed(told);
        tasks::heed(told);
        global::on_start();
        http::told_server();
        dump::heed();
        // Last: what is above allocates on this thread and on those that it starts.
        trace_what_is_told(told);
    }
}

/// Begins the trace that was told of, for as long as the process lives.
fn trace_what_is_told(told: &Config) {
    let Some(path) = &told.trace else {
        return;
    };
    // A process that the traced one has started has its own file beside the other's.
    let started = trace::start(path).or_else(|error| {
        if error.is_busy() {
            trace::start(trace::beside(path))
        } else {
            Err(error)
        }
    });
    match started {
        // Dropping it would end it.
        Ok(trace) => forget(trace),
        Err(error) => complain(format!("{VARIABLE}: `trace`: {error}; going on without")),
    }
}

/// Whether an allocation moves this thread's countdown.
fn allocations_are_counted() -> bool {
    let countdown = || local::with(|local| local.countdown.get());
    let before = countdown();
    drop(black_box(Box::new([0_u8; 64])));
    countdown() != before
}
