//! The workloads over the system allocator, declared as users of a profiler must declare it.

#[global_allocator]
static ALLOC: std::alloc::System = std::alloc::System;

fn main() {
    workloads::main();
}
