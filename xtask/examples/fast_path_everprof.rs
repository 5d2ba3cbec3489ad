//! `everprof::Alloc` over the same inner allocator as `fast_path_bare`. The
//! period comes from `EVERPROF`: 0, or so long that nothing is sampled.

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

include!("fast_path/workload.rs");

fn main() {
    run();
}
