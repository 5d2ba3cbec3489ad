//! The project's own chores: `cargo xtask ci`, `cargo xtask bench`.
fn main() {}
