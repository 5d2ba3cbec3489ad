//! The workloads over pprof-alloc with its heap profile on.

#[global_allocator]
static ALLOC: pprof_alloc::PprofAlloc = pprof_alloc::PprofAlloc::new().with_pprof();

fn main() {
    workloads::main();
}
