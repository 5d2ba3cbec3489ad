//! The same locks as in `fast_path_locks_bare`, in a program whose waits are seen.

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

include!("fast_path/locks.rs");

fn main() {
    run();
}
