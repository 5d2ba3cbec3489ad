//! pprof's format: profile.proto, gzip'd.
//!
//! Context: cold.
//! Invariant: what `encode` writes, `decode` reads as the same profile.
//! Source: proto/profile.proto of github.com/google/pprof.

mod decode;
mod encode;
mod schema;

pub use decode::{Limits, decode};
pub use encode::{encode, encode_plain};
