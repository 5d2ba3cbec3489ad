//! The commands, one file each: arguments, then what they do, then how it is written.

pub mod diff;
pub mod export;
pub mod flame;
pub mod merge;
pub mod peek;
pub mod stacks;
pub mod top;
pub mod trace;
pub mod tree;
