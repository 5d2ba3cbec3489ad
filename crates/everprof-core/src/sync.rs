//! Atomics: the platform's, or loom's in a model.
//!
//! Every atomic of the steps that loom models (table, in-use store, epochs)
//! comes from here, so that one source is both shipped and modelled. The walk
//! (`stack`) and the list of modules are not modelled and use core's own.

#[cfg(not(everprof_loom))]
pub(crate) use std::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(everprof_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
