//! The workloads over everprof around jemalloc.

use everprof::Alloc;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOC: Alloc<Jemalloc> = Alloc::new(Jemalloc);

fn main() {
    workloads::main();
}
