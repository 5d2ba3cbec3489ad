//! The end of a trace at the end of the process.
//!
//! Context: signal, on whichever thread `exit` was called. Invariant: it waits for a bounded
//! time, and takes no lock that somebody could hold
//! ([`Tracer::before_exit`](everprof_core::trace::Tracer::before_exit)).
//!
//! `_exit` does not come here, but by core's definition of it, where waiting is seen. A process
//! that is killed leaves what its trace has been written by then.

use std::sync::Once;

use everprof_core::global;

use crate::start;

/// Sees to it that the trace is whole if the process exits before it is stopped.
pub(super) fn end_in_time() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| start::call_at_exit(at_exit));
}

extern "C" fn at_exit() {
    global::tracer().before_exit();
}
