//! The recording room of everprof: what runs beneath a program's allocator.
//!
//! The way of one event through this crate, in the order of the modules:
//! [`sampler`] decides whether it is recorded and with which weight, [`stack`]
//! captures who did it, [`table`] finds the bucket of that stack, [`inuse`]
//! remembers the object until it is freed, [`snapshot`] copies the buckets at
//! an instant. [`heap`] joins these steps into the heap's recorder, [`waits`] those
//! it needs into the recorder of waits, and [`recording`] reads what was recorded
//! from another process. [`managed`] is a heap that a collector frees late, by the clock
//! of [`cycle`], in an arena of its own; [`custom`] is what a program says that it holds.
//! [`cpu`] samples what threads run, into an arena of each
//! profile's own.
//!
//! `interpose` (a feature) stands in front: C functions in which programs wait, which it
//! tells [`waits`] of.
//!
//! All of them write to a [`store`]: `ledger` is one profile's table and epochs,
//! `parts` knows all that stands in one arena, `module_list` copies the modules
//! into it. Below them stand [`arena`], [`epoch`], [`filter`], `fork`, [`modules`],
//! [`lost`], [`settings`], [`labels`], [`local`], `sync` and `sys`, which call nothing above.
//! [`global`] holds the one real store.

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
pub mod cpu;
#[cfg(not(everprof_loom))]
pub mod custom;
#[cfg(not(everprof_loom))]
pub mod heap;
#[cfg(not(everprof_loom))]
mod ledger;
#[cfg(not(everprof_loom))]
pub mod managed;
#[cfg(not(everprof_loom))]
pub mod recording;
#[cfg(not(everprof_loom))]
mod scratch;
#[cfg(not(everprof_loom))]
pub mod spawn;
// The model takes its pool alone.
#[cfg(everprof_loom)]
#[path = "spawn/pool.rs"]
pub mod spawn_pool;
#[cfg(not(everprof_loom))]
pub mod store;
#[cfg(not(everprof_loom))]
pub mod threads;
pub mod waits;

#[cfg(all(
    feature = "interpose",
    target_os = "linux",
    any(target_env = "gnu", target_env = "musl"),
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64",
    not(miri),
    not(everprof_loom)
))]
mod interpose;

pub mod arena;
pub mod cycle;
pub mod epoch;
#[cfg(not(everprof_loom))]
pub mod filter;
#[cfg(not(everprof_loom))]
mod fork;
pub mod gate;
pub mod labels;
pub mod local;
pub mod lost;
#[cfg(not(everprof_loom))]
mod module_list;
pub mod modules;
#[cfg(not(everprof_loom))]
pub mod own_threads;
#[cfg(not(everprof_loom))]
mod parts;
#[cfg(not(everprof_loom))]
pub mod settings;
#[cfg(not(everprof_loom))]
pub mod signal;
mod sync;
mod sys;

#[cfg(not(everprof_loom))]
pub mod global;
