//! The function that the loader calls before `main`.
//!
//! It stands in `.init_array`, and is called when the program's own objects are
//! in place, before `main` and hence before any thread of the program. What it
//! reads in `EVERPROF` counts from the first allocation of `main` on; what
//! constructors before it allocated was counted by the default period. Waits, threads and tasks
//! are recorded whatever the allocator is, and so their settings count in every program, and
//! doors (the endpoint, a signal's handler) open in every program. Two settings want an
//! [`Alloc`](crate::Alloc) and say so where there is none.
//!
//! Context: cold. Invariant: what this thread allocates in here is not the
//! program's and is left out of the profile.

use std::env;
use std::ffi::OsStr;
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
extern "C" fn on_start() {
    if env::var_os(VARIABLE).is_none() {
        let _left_out = LeftOut::new();
        // Said now, whatever the program sets later.
        let _ = config::told();
        // Not by way of what is below, where nothing would come of anything: its functions lie
        // all over the executable, and of each the kernel takes 64 KiB into memory.
        global::on_start();
        return;
    }
    if is_the_command_line() {
        return;
    }
    // When it ends, so does the gap that a constructor before this one may have
    // begun.
    let _left_out = LeftOut::new();
    clock::begin();
    // Before a period is set: that may change the countdown, too.
    let is_counting = allocations_are_counted();
    let told = config::told();
    set_what_is_told(told);
    global::on_start();
    if !is_counting {
        name_what_wants_our_allocator(told);
    }
    http::told_server();
    dump::heed();
    if is_counting {
        // Last: what is above allocates on this thread and on those that it starts.
        trace_what_is_told(told);
    }
}

/// Whether this is the program `everprof`, which reads what others recorded: the variable is
/// for the program that it runs. It is not built with the feature that brings this file, but
/// cargo unifies features, so that in a build of the whole workspace it has it.
fn is_the_command_line() -> bool {
    env::current_exe().is_ok_and(|path| path.file_name() == Some(OsStr::new("everprof")))
}

/// What comes to nothing in this program, one line each.
fn name_what_wants_our_allocator(told: &Config) {
    // Off is what it is.
    let heap = told.heap_period_bytes.is_some_and(|period| period != 0);
    for (key, is_told, comes_of_it) in [
        ("heap", heap, "the profile of its heap is empty"),
        ("trace", told.trace.is_some(), "there is nothing to trace"),
    ] {
        if is_told {
            complain(format!(
                "{VARIABLE}: `{key}`: this program's allocator is no everprof::Alloc, so that \
                 {comes_of_it}; going on without"
            ));
        }
    }
}

/// Settings alone: nothing here starts a thread or opens a file.
fn set_what_is_told(told: &Config) {
    if let Some(limit) = told.memory_limit_bytes {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // In time, unless a constructor before this one made a sample.
        if !global::store().set_memory_limit(limit) {
            complain(format!(
                "{VARIABLE}: `memory_limit`: the records were begun before it was read, with {} \
                 bytes; going on with these",
                global::store().memory_limit()
            ));
        }
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
