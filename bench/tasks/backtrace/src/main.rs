//! async-backtrace: each call is framed.

use std::future::Future;

struct Backtrace;

impl work::Peer for Backtrace {
    fn task<F: Future<Output = ()> + Send + 'static>(
        future: F,
    ) -> impl Future<Output = ()> + Send + 'static {
        async_backtrace::frame!(future)
    }

    fn call<F: Future + Send>(
        _name: &'static str,
        future: F,
    ) -> impl Future<Output = F::Output> + Send {
        async_backtrace::frame!(future)
    }

    async fn dump() -> Option<(usize, usize)> {
        let text = async_backtrace::taskdump_tree(true);
        let tasks = text.lines().filter(|line| line.starts_with('╼')).count();
        Some((tasks, text.len()))
    }
}

fn main() {
    work::main::<Backtrace>();
}
