//! The inner allocator alone: what `fast_path_everprof` is compared with.

// Declared, although it is the default: without a declaration std takes
// another, slower way to the same allocator.
#[global_allocator]
static ALLOC: std::alloc::System = std::alloc::System;

include!("fast_path/workload.rs");

fn main() {
    run();
}
