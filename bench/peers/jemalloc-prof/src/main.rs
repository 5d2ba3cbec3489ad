//! The workloads over jemalloc with its profiler, switched on by `_RJEM_MALLOC_CONF`.

#[global_allocator]
static ALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    workloads::main();
}
