//! Labels set and dropped: sets met before, as they nearly always are.
//!
//! `--loop NAME COUNT` runs one row that often and nothing else, for callgrind.

use std::hint::black_box;
use std::time::Instant;

use everprof::WithLabels;
use everprof::labels;

const TURNS: u32 = 100_000;
const ROUNDS: u32 = 50;

/// A row's name, and its loop of so many turns.
type Row = (&'static str, fn(u32));

const ROWS: [Row; 6] = [
    ("one label", one),
    ("two labels", two),
    ("one in another", nested),
    ("a number", number),
    ("four labels, one long", four),
    ("a poll with labels", poll),
];

fn one(turns: u32) {
    for _ in 0..turns {
        let _labels = black_box(labels! { "tenant" => black_box("acme-corp-17") });
    }
}

fn two(turns: u32) {
    for _ in 0..turns {
        let _labels = black_box(labels! {
            "tenant" => black_box("acme-corp-17"), "route" => black_box("/v1/search/items"),
        });
    }
}

fn nested(turns: u32) {
    let _outer = labels! { "tenant" => "acme-corp-17" };
    for _ in 0..turns {
        let _labels = black_box(labels! { "route" => black_box("/v1/search/items") });
    }
}

fn number(turns: u32) {
    for _ in 0..turns {
        let _labels = black_box(labels! { "tenant" => black_box(123_456_u64) });
    }
}

fn four(turns: u32) {
    let long = "x".repeat(300);
    for _ in 0..turns {
        let _labels = black_box(labels! {
            "tenant" => black_box("acme-corp-17"), "route" => black_box("/v1/search/items"),
            "phase" => black_box("parse"), "query" => black_box(&long),
        });
    }
}

fn poll(turns: u32) {
    use std::future::Future;
    use std::task::{Context, Waker};
    let future = std::future::pending::<()>().with_labels(labels! { "route" => "/v1" });
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..turns {
        assert!(black_box(future.as_mut().poll(&mut context)).is_pending());
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--loop") {
        let count = arguments[at + 2].parse().expect("how often");
        let row = ROWS.iter().find(|(name, _)| *name == arguments[at + 1]);
        row.expect("the name of a row").1(count);
        return;
    }
    let measured = arguments.iter().any(|argument| argument == "--bench");
    println!("{:<32}{:>10}", "ns, set and dropped", "best");
    for (name, work) in ROWS {
        let rounds = if measured { ROUNDS } else { 1 };
        let nanos = (0..rounds).map(|_| {
            let start = Instant::now();
            work(TURNS);
            start.elapsed().as_nanos() as f64 / f64::from(TURNS)
        });
        println!("{name:<32}{:>10.2}", nanos.fold(f64::INFINITY, f64::min));
    }
}
