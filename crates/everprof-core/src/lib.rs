//! The recording room of everprof: what runs beneath a program's allocator, around its
//! locks, in its signal handlers.
//!
//! The modules stand in the order in which an event comes through them. DESIGN.md follows
//! one event of each kind from file to file.
//!
//! ```text
//!  in front    interpose                            C functions in which programs wait
//!  recorders   heap  waits  spawn  custom  managed  what happens, as it happens
//!              tasks
//!              trace                                every allocation, one by one
//!              cpu  threads                         what runs, what is: when asked
//!  steps       sampler → stack → scratch → table → inuse → snapshot
//!  the store   store: ledger, labels, module_list, parts; recording reads another's
//!  the ground  arena, clock, epoch, gate, …        call nothing above
//! ```
//!
//! **Steps.** [`sampler`] decides whether an event is recorded and with which weight,
//! [`stack`] captures who did it, [`table`] finds the bucket of that stack, [`inuse`]
//! remembers the object until it is freed, [`snapshot`] copies the buckets at an instant.
//!
//! **Recorders** join steps: [`heap`] for allocations, [`waits`] for who waited and who
//! ended it, [`spawn`] for threads created, [`custom`] for what a program says that it
//! holds, [`tasks`] for what futures await. [`managed`] is a heap that a collector frees
//! late, by the clock of [`cycle`], in an arena of its own; [`cpu`] samples what threads run,
//! into an arena of each profile's own. [`trace`] writes down each event, in an arena of its
//! own; [`allocation`] asks it beside [`heap`]. [`threads`] looks at all of them and keeps
//! nothing.
//!
//! `interpose` (a feature) stands in front. It defines the C functions in which programs wait
//! and make threads, and tells [`waits`] and [`spawn`] of each call.
//!
//! **The store** is what all but `managed`, `cpu` and `trace` write to: `ledger` is one profile's
//! table and epochs, [`labels`] the sets that buckets name, `parts` knows all that stands
//! in one arena, `module_list` copies the modules into it, and [`recording`] reads it from
//! another process. [`global`] holds the one real [`store`]; tests make others. Two recorders keep
//! something in it that is not in the arena: `heap` its places, [`spawn`] its starts.
//!
//! **The ground** calls nothing above. It names types from there: [`local`] holds the thread state
//! of each recorder, [`settings`] the defaults of each.
//!
//! | of the ground | is |
//! |---|---|
//! | [`arena`] | the memory that records stand in |
//! | [`filter`] | which addresses may be those of recorded objects |
//! | [`epoch`], [`gate`], `cold_lock` | who is inside, and when all have left |
//! | `fork`, [`per_process`] | whether this is another process, and what that has of its own |
//! | [`own_threads`] | which threads are everprof's |
//! | [`clock`], `math` | the time; logarithms without libm |
//! | [`modules`] | whose code is at an address |
//! | [`lost`] | frames that say what could not be recorded |
//! | [`signal`], `sync`, `sys` | what the platform gives |

// What only the search of all memory needs: `tasks/reach_noop.rs` says why it is not there.
#![cfg_attr(everprof_emulated, allow(dead_code, unused_imports))]
#![cfg_attr(
    everprof_loom,
    allow(dead_code, reason = "models take single structures")
)]

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

// Recorders.
#[cfg(not(everprof_loom))]
pub mod heap;

pub mod waits;

#[cfg(not(everprof_loom))]
pub mod spawn;
// The model takes its pool alone.
#[cfg(everprof_loom)]
#[path = "spawn/pool.rs"]
pub mod spawn_pool;

#[cfg(not(everprof_loom))]
pub mod custom;

pub mod tasks;

#[cfg(not(everprof_loom))]
pub mod managed;

pub mod cycle;

#[cfg(not(everprof_loom))]
pub mod cpu;

#[cfg(not(everprof_loom))]
pub mod threads;

pub mod trace;

#[cfg(not(everprof_loom))]
pub mod allocation;

// Steps.
pub mod sampler;

pub mod stack;

#[cfg(not(everprof_loom))]
mod scratch;

pub mod table;

pub mod inuse;

#[cfg(not(everprof_loom))]
pub mod snapshot;

// The store.
#[cfg(not(everprof_loom))]
pub mod store;

#[cfg(not(everprof_loom))]
mod ledger;

pub mod labels;

#[cfg(not(everprof_loom))]
mod module_list;

#[cfg(not(everprof_loom))]
mod parts;

#[cfg(not(everprof_loom))]
pub mod recording;

#[cfg(not(everprof_loom))]
pub mod global;

// The ground.
pub mod arena;
pub mod clock;
mod cold_lock;
pub mod epoch;
#[cfg(not(everprof_loom))]
pub mod filter;
#[cfg(not(everprof_loom))]
mod fork;
pub mod gate;
pub mod local;
pub mod lost;
mod math;
pub mod modules;
#[cfg(not(everprof_loom))]
pub mod own_threads;
#[cfg(not(everprof_loom))]
pub mod per_process;
#[cfg(not(everprof_loom))]
pub mod settings;
#[cfg(not(everprof_loom))]
pub mod signal;
mod sync;
mod sys;
