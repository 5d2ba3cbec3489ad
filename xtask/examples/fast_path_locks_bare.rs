//! Locks alone: what `fast_path_locks_everprof` is compared with.

#[global_allocator]
static ALLOC: std::alloc::System = std::alloc::System;

include!("fast_path/locks.rs");

fn main() {
    run();
}
