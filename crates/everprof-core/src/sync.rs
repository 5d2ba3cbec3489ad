//! Atomics: the platform's, or loom's in a model.
//!
//! Every atomic of the steps that loom models (table, in-use store, epochs)
//! comes from here, so that one source is both shipped and modelled.

#[cfg(not(everprof_loom))]
pub(crate) use std::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(everprof_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
