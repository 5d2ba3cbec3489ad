//! Async programs to prove the profiles of tasks with.
//!
//! | module | has | proven by |
//! |---|---|---|
//! | [`leaves`] | everything that a task can wait in, each in a function of its own | `tests/leaves.rs` |
//! | [`alike`] | programs that must poll the same, watched or not | `tests/alike.rs` |
//! | [`flood`] | a million operations over channels and locks | `tests/flood.rs` |
//! | [`leaks`] | tasks that can never go on, and the same programs mended | `tests/leaks.rs` |
//!
//! All of it is ordinary code that knows of no profiler; what is watched, and how, is said in
//! [`watch`] alone.

pub mod alike;
pub mod executors;
pub mod flood;
pub mod leaks;
pub mod leaves;
pub mod watch;

use std::future::Future;
use std::pin::Pin;

/// A future for any thread.
pub type Boxed<T = ()> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A future for one thread.
pub type BoxedLocal<T = ()> = Pin<Box<dyn Future<Output = T>>>;
