//! Modules where nothing is known about them.
//!
//! Context: any. Twin of `loaded.rs`.

/// Records nothing.
pub fn refresh() {}
