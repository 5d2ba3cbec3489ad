//! The workloads over everprof around mimalloc.

use everprof::Alloc;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOC: Alloc<MiMalloc> = Alloc::new(MiMalloc);

fn main() {
    workloads::main();
}
