//! Tracing: every allocation and every free, one by one, as they happen.
//!
//! ```text
//! thread: due ─→ tracer ── stack ─→ stacks ─┐
//!          (every event)                    ├─ event ─→ buffers ═══ read ═══▶ session ─→ façade:
//!                         ticks ────────────┘  (one a thread)      (one reader)          blocks of a file
//! ```
//!
//! While a trace is taken each thread that has joined it keeps the countdown of the
//! allocator's fast path run out, so that each of its allocations comes to the cold side
//! (`thread`), and each object gets the mark that tells a free to come there, too (`marks`).
//! The fast path is the same as ever.
//!
//! Context: sampled; `session` is cold. Invariant: what an event names (its stack, its type)
//! is in the tracer's memory before the event is in its buffer; the memory is never given
//! back, so that who comes late writes where nobody reads, and no more.
//!
//! Source: Go runtime/mprof.go (`tracealloc`, `tracefree`, `tracegc`), which prints; the
//! buffers are ours.

pub mod buffers;
pub mod words;

#[cfg(not(everprof_loom))]
mod ending;
#[cfg(not(everprof_loom))]
mod managed;
#[cfg(not(everprof_loom))]
mod marks;
#[cfg(not(everprof_loom))]
mod session;
#[cfg(not(everprof_loom))]
mod stacks;
#[cfg(not(everprof_loom))]
mod thread;
#[cfg(not(everprof_loom))]
mod tracer;

#[cfg(not(everprof_loom))]
pub use managed::ManagedObject;
#[cfg(not(everprof_loom))]
pub use marks::Mark;
#[cfg(not(everprof_loom))]
pub use session::{Asker, Numbered, Reader, Session, StartError};
#[cfg(not(everprof_loom))]
pub use stacks::Known;
#[cfg(not(everprof_loom))]
pub use thread::ThreadState;
#[cfg(not(everprof_loom))]
pub use tracer::{Allocation, Tracer};
#[cfg(not(everprof_loom))]
pub(crate) use tracer::{From, ticks};
pub use words::{Event, GcStep, StackAt, TypeAt};
