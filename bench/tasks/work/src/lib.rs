//! What the peers are measured by: polls, idle tasks, a small service.
//!
//! ```text
//! poll COUNT       a task that is polled so often, through five async functions
//! idle COUNT       so many tasks that wait, and a dump of them
//! service SCALE    requests over TCP, through a channel, a lock and a worker
//! ```

use std::future::Future;

mod figures;
mod idle;
mod poll;
mod service;

/// A way to see what tasks wait for.
pub trait Peer: 'static {
    /// Before the runtime is there.
    fn start() {}

    /// The future of a task, as this way wants it.
    fn task<F: Future<Output = ()> + Send + 'static>(
        future: F,
    ) -> impl Future<Output = ()> + Send + 'static {
        future
    }

    /// A call of an async function that is to be seen.
    fn call<F: Future + Send>(
        _name: &'static str,
        future: F,
    ) -> impl Future<Output = F::Output> + Send {
        future
    }

    /// What all tasks wait for, with names, as its users get it: how many tasks it tells of,
    /// and how many bytes that takes.
    fn dump() -> impl Future<Output = Option<(usize, usize)>> {
        async { None }
    }
}

/// Runs what the command line says.
pub fn main<P: Peer>() {
    P::start();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [workload, number] = &words[..] else {
        panic!("usage: {} poll|idle|service NUMBER", env!("CARGO_PKG_NAME"));
    };
    let number: f64 = number.parse().expect("a number");
    match workload.as_str() {
        "poll" => poll::run::<P>(number as u64),
        "idle" => idle::run::<P>(number as usize),
        "service" => service::run::<P>(number),
        other => panic!("`{other}`: expected poll, idle or service"),
    }
}
