//! The recording room of everprof: what runs beneath a program's allocator.
//!
//! The way of one event through this crate, in the order of the modules:
//! [`sampler`] decides whether it is recorded and with which weight, [`stack`]
//! captures who did it, [`table`] finds the bucket of that stack, [`inuse`]
//! remembers the object until it is freed, [`snapshot`] copies the buckets at
//! an instant. [`heap`] joins these steps into the heap's recorder.
//!
//! Below them stand [`arena`], [`modules`], [`lost`], [`local`], `sync` and
//! `sys`, which call nothing above. [`global`] holds the one real instance of
//! each.

pub mod arena;
pub mod global;
pub mod heap;
pub mod inuse;
pub mod local;
pub mod lost;
pub mod modules;
pub mod sampler;
pub mod snapshot;
pub mod stack;
mod sync;
mod sys;
pub mod table;
