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
pub(crate) use loom::cell::UnsafeCell;
#[cfg(everprof_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Memory that who may write when is agreed about otherwise; loom checks that it is so.
#[cfg(not(everprof_loom))]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(everprof_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// To read it.
    #[inline(always)]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// To write it.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
