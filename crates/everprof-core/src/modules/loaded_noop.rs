//! Modules where nothing is known about them.
//!
//! Twin of `loaded.rs`.

/// Records nothing.
pub fn refresh() {}
