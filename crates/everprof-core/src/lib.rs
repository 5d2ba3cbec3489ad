//! The recording room of everprof: what runs beneath a program's allocator.
//!
//! The way of one event through this crate, in the order of the modules:
//! [`sampler`] decides whether it is recorded and with which weight, [`stack`]
//! captures who did it, [`table`] finds the bucket of that stack, [`inuse`]
//! remembers the object until it is freed, [`snapshot`] copies the buckets at
//! an instant. [`heap`] joins these steps into the heap's recorder, and
//! [`recording`] reads its tables from another process.
//!
//! Below them stand [`arena`], [`epoch`], [`filter`], `fork`, [`modules`],
//! [`lost`], [`local`], `sync` and `sys`, which call nothing above; `parts` holds
//! together what stands in one arena, `module_list` copies the modules into it.
//! [`global`] holds the one real instance of each.

#![cfg_attr(
    everprof_loom,
    allow(dead_code, reason = "models take single structures")
)]

pub mod inuse;
pub mod sampler;
#[cfg(not(everprof_loom))]
pub mod snapshot;
pub mod stack;
pub mod table;

#[cfg(not(everprof_loom))]
pub mod heap;
#[cfg(not(everprof_loom))]
pub mod recording;

pub mod arena;
pub mod epoch;
#[cfg(not(everprof_loom))]
pub mod filter;
#[cfg(not(everprof_loom))]
mod fork;
pub mod local;
pub mod lost;
#[cfg(not(everprof_loom))]
mod module_list;
pub mod modules;
#[cfg(not(everprof_loom))]
mod parts;
mod sync;
mod sys;

#[cfg(not(everprof_loom))]
pub mod global;
