//! Profile values: what every reader of profiles needs, and no recorder.
//!
//! A [`Profile`] is built by a recorder's `assemble` or read by [`pprof::decode()`].
//!
//! ```text
//! assemble ───────┐             ┌─→ pprof::encode, text, folded, speedscope
//! pprof::decode ──┴─→ Profile ──┼─→ report::Selection ─→ top, tree, peek, diff, flame
//!                     ↑     │   └─→ stacks::Stacks ─→ paragraphs and groups of threads
//!                     └─────┘
//!       merge, delta, filter, symbolize, trim
//! ```
//!
//! `profile` is the value, on `pool` and `index`; `import` copies parts of one into
//! another; `errorbars` says how sure its figures are.
//!
//! Context: cold, everywhere. Invariant: no bytes, however broken, make it panic.

#![forbid(unsafe_code)]

mod delta;
mod error;
pub mod errorbars;
mod filter;
pub mod flame;
pub mod folded;
mod import;
mod index;
mod merge;
mod one_line;
mod pool;
pub mod pprof;
pub mod proc_maps;
mod profile;
pub mod report;
pub mod speedscope;
pub mod stacks;
pub mod symbolize;
pub mod text;
pub mod trace;
mod trim;
pub mod wait_kind;
mod wire;

pub use error::Error;
pub use filter::Filter;
pub use profile::{
    Function, FunctionId, Label, LabelSetId, LabelValue, Labels, Line, Location, LocationId,
    Mapping, MappingId, Profile, Sample, Stack, StackId, ValueType,
};
pub use trim::{ALLOCATOR_FRAMES, LOCK_FRAMES, is_own_frame};
