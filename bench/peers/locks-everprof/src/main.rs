//! The lock workloads, linked to everprof; `EVERPROF` sets the periods.

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

fn main() {
    locks::main();
}
