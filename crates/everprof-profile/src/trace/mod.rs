//! Trace: every allocation, free and collection of a process, one after another.
//!
//! ```text
//! bytes ─ blocks ─→ decoder ─┬─ tables    program, modules, stacks, names, threads
//!                            └─ cursor ─→ merge ─→ events in the order of time
//!
//! events ─┬─→ text
//!         └─→ objects, on wanted, in_use, late ─→ Findings ─→ results: Profiles
//! ```
//!
//! `format` has the numbers of the bytes, [`encode`] writes them, and docs/trace-format.md
//! tells the whole. [`Reader`] reads any number of events in the memory of one round, and
//! [`Objects`] follows them in that of the objects in use. [`stacks`] names stacks before
//! or beside that.
//!
//! Context: cold. Invariant: no bytes, however broken, make it panic, wait for ever, or take
//! more memory than some times their own; what was read before a fault is given.

mod blocks;
mod cursor;
mod decoder;
pub mod encode;
mod event;
mod fault;
mod findings;
mod format;
mod histogram;
mod in_use;
mod late;
mod merge;
mod objects;
mod places;
mod queue;
mod reader;
mod results;
mod stack_tree;
pub mod stacks;
mod tables;
pub mod text;
mod wanted;

pub use event::{Event, Other, Step, What};
pub use findings::{Amount, Counts, Findings, Site};
pub use format::{
    FIRST_ADDRESS, Kind, MOST_FRAMES, MOST_PAYLOAD_BYTES, MOST_SHIFT, Table, VERSION,
};
pub use histogram::Histogram;
pub use objects::Objects;
pub use reader::{Ending, Reader};
pub use results::View;
/// The path of a module that `everprof run` put into the program: its file is gone when the run
/// is. The module's build id tells which everprof that was.
pub const PRELOADED: &str = "[everprof]";

pub use tables::{Frame, Module, Program, Tables, Thread, Totals};
pub use wanted::Wanted;
