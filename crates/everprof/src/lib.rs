//! Always-on profilers for Rust programs, readable by every tool that reads Go's.
//!
//! ```no_run
//! #[global_allocator]
//! static ALLOC: everprof::Alloc = everprof::Alloc::system();
//!
//! fn main() -> Result<(), everprof::Error> {
//!     let _server = everprof::serve("127.0.0.1:6060")?;
//!     // … the program …
//!     Ok(())
//! }
//! ```
//!
//! Then `go tool pprof http://127.0.0.1:6060/debug/pprof/heap`, or `everprof top`
//! of the same address, shows where the memory is.
//!
//! - [`Alloc`] records allocations, beneath any program and over any allocator.
//! - [`serve`] answers on an address of its own, [`handle`] within a server that
//!   the program has already.
//! - [`profile`] takes profiles in the program itself; [`heap`], [`block`] and [`mutex`]
//!   have their settings and records, and [`block::deadlocks`] finds who waits for ever.
//! - [`Custom`] profiles what the program holds, [`heap::Managed`] a heap that its own
//!   collector frees.
//! - [`cpu`] takes a profile of CPU time.
//! - [`threads`] and [`stacks`] tell what each thread is doing, [`threadcreate`] who made
//!   them.
//! - [`task`] watches futures, [`tasks`] tells what each of them awaits, [`taskblock`] what
//!   their waits took.
//! - [`labels!`] says for whom a thread works, on all of its samples ([`label`]).
//! - [`trace`] writes down every allocation and free, one by one.
//! - [`test::Profiles`] writes the profiles of a test.
//! - [`config`] tells what `EVERPROF` sets from outside.
//!
//! # Features
//!
//! - `environment` (default): `EVERPROF` is read before `main`.
//! - `interpose` (default): waiting is seen, because some C functions in which programs
//!   wait are defined here in the place of the C library's.
//! - `axum`: `everprof::axum::router()`.
//! - `tokio`: `everprof::task::spawn`.

mod added;
mod alloc;
#[doc(hidden)]
pub mod assemble;
#[cfg(feature = "axum")]
pub mod axum;
pub mod block;
pub mod config;
pub mod cpu;
pub mod custom;
mod deadlock;
mod dump;
mod error;
pub mod heap;
mod http;
pub mod label;
pub mod mutex;
pub mod profile;
pub mod stacks;
mod start;
pub mod task;
pub mod taskblock;
pub mod tasks;
pub mod test;
pub mod threadcreate;
pub mod threads;
pub mod trace;
mod waits;

pub use alloc::Alloc;
pub use custom::Custom;
#[doc(hidden)]
pub use dump::install as dump_at_signal;
pub use error::Error;
pub use everprof_macros::watched;
pub use http::{Options, Request, Response, Server, handle, serve, serve_insecurely};
pub use label::WithLabels;
#[doc(hidden)]
pub use start::spawn as own_thread;
pub use task::Watch;
