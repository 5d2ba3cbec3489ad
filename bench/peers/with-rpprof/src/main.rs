//! The workloads over rpprof with its heap profile on.

#[global_allocator]
static ALLOC: rpprof::alloc::AllocProfiler = rpprof::alloc::AllocProfiler::system();

fn main() {
    rpprof::alloc::start();
    workloads::main();
}
