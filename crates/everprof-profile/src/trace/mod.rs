//! Trace: every allocation, free and collection of a process, one after another.
//!
//! ```text
//! bytes ─ blocks ─→ decoder ─┬─ tables    programs, modules, stacks, names, threads
//!                            └─ cursor ─→ merge ─→ events in the order of time
//! ```
//!
//! `format` has the numbers of the bytes, [`encode`] writes them, and docs/trace-format.md
//! tells the whole. [`Reader`] reads any number of events in the memory of one round.
//!
//! Context: cold. Invariant: no bytes, however broken, make it panic, wait for ever, or take
//! more memory than some times their own; what was read before a fault is given.

mod blocks;
mod cursor;
mod decoder;
pub mod encode;
mod event;
mod fault;
mod format;
mod merge;
mod reader;
mod stack_tree;
mod tables;

pub use event::{Event, Other, Step, What};
pub use format::{
    FIRST_ADDRESS, Kind, MOST_FRAMES, MOST_PAYLOAD_BYTES, MOST_SHIFT, Table, VERSION,
};
pub use reader::{Ending, Reader};
pub use tables::{Frame, Module, Program, Tables, Thread, Totals};
