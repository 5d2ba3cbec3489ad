//! Tasks watched by everprof, all of whose profiles are on. `EVERPROF` says otherwise.

use std::future::Future;

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

struct Watched;

impl work::Peer for Watched {
    fn task<F: Future<Output = ()> + Send + 'static>(
        future: F,
    ) -> impl Future<Output = ()> + Send + 'static {
        everprof::task::watch(future)
    }

    async fn dump() -> Option<(usize, usize)> {
        let mut bytes = Vec::new();
        let profile = everprof::profile::lookup("tasks")?;
        profile.write_to(&mut bytes).ok()?;
        Some((everprof::tasks::counts().watched, bytes.len()))
    }
}

fn main() {
    work::main::<Watched>();
}
