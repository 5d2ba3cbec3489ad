//! await-tree: each call is a span, and each task registered.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use await_tree::{Config, InstrumentAwait, Registry};

struct AwaitTree;

static REGISTRY: OnceLock<Registry> = OnceLock::new();
static NEXT: AtomicU64 = AtomicU64::new(0);

fn registry() -> &'static Registry {
    REGISTRY.get_or_init(|| Registry::new(Config::default()))
}

impl work::Peer for AwaitTree {
    fn task<F: Future<Output = ()> + Send + 'static>(
        future: F,
    ) -> impl Future<Output = ()> + Send + 'static {
        let key = NEXT.fetch_add(1, Ordering::Relaxed);
        registry().register(key, "task").instrument(future)
    }

    fn call<F: Future + Send>(
        name: &'static str,
        future: F,
    ) -> impl Future<Output = F::Output> + Send {
        future.instrument_await(name)
    }

    async fn dump() -> Option<(usize, usize)> {
        let trees = registry().collect::<u64>();
        let bytes = trees.iter().map(|(_, tree)| tree.to_string().len()).sum();
        Some((trees.len(), bytes))
    }
}

fn main() {
    work::main::<AwaitTree>();
}
