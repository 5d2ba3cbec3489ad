//! The workloads over everprof around the system allocator.

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

fn main() {
    workloads::main();
}
