//! Always-on profilers for Rust programs, readable by every tool that reads Go's.

mod alloc;

pub use alloc::Alloc;
