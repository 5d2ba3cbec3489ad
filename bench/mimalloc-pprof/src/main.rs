//! The workloads over mimalloc-pprof, switched on by `MIMALLOC_PROF=1`.

#[global_allocator]
static ALLOC: mimalloc_pprof::MiMalloc = mimalloc_pprof::MiMalloc;

fn main() {
    workloads::main();
}
