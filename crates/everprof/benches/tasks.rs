//! What watching costs a poll, and what a dump of many tasks costs.
//!
//! `cargo bench -p everprof --bench tasks`; with an argument one part alone, for counting
//! instructions: `polls` or `wakes` with `bare`, `off` or `on`; `dump`.
//!
//! A poll is that of a future of a few frames whose leaf keeps a waker and is woken by it: what
//! it takes besides is the same watched and unwatched, so that the difference is ours.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use everprof::Watch;

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

type Slot = Arc<Mutex<Option<Waker>>>;

/// Each poll keeps the waker, as a channel's receiver does.
fn leaf(slot: Slot) -> impl Future<Output = ()> {
    poll_fn(move |context: &mut Context<'_>| {
        if let Ok(mut kept) = slot.lock()
            && !kept
                .as_ref()
                .is_some_and(|kept| kept.will_wake(context.waker()))
        {
            *kept = Some(context.waker().clone());
        }
        Poll::Pending
    })
}

macro_rules! layers {
    ($($name:ident => $inner:ident),+) => { $(
        #[inline(never)]
        async fn $name(slot: Slot) {
            Box::pin($inner(slot)).await;
        }
    )+ };
}
layers!(one => leaf, two => one, three => two);

fn boxed(future: impl Future<Output = ()> + 'static) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(future)
}

/// Polls, and wakes if that is wanted; nanoseconds each.
fn polls(
    future: &mut Pin<Box<dyn Future<Output = ()>>>,
    slot: &Slot,
    rounds: u32,
    wakes: bool,
) -> f64 {
    let waker = Waker::from(Arc::new(Nobody));
    let mut context = Context::from_waker(&waker);
    let begun = Instant::now();
    for _ in 0..rounds {
        let _ = black_box(future.as_mut().poll(&mut context));
        if wakes
            && let Ok(mut kept) = slot.lock()
            && let Some(waker) = kept.take()
        {
            waker.wake();
        }
    }
    begun.elapsed().as_nanos() as f64 / f64::from(rounds)
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let rounds = if wanted.is_empty() { 200_000 } else { 20_000 };
    let slot = Slot::default();
    let mut bare = boxed(three(Arc::clone(&slot)));
    let mut watched = boxed(three(Arc::clone(&slot)).watched());
    let mut off = boxed(unseen(&slot));
    for (wakes, what) in [(false, "poll"), (true, "poll and wake")] {
        if !wants(if wakes { "wakes" } else { "polls" }) {
            continue;
        }
        let mut best = [f64::MAX; 3];
        for _ in 0..9 {
            // In turn, so that whatever else the machine does falls on all of them.
            let futures = [("bare", &mut bare), ("off", &mut off), ("on", &mut watched)];
            for ((name, future), best) in futures.into_iter().zip(&mut best) {
                if wants(name) {
                    *best = best.min(polls(future, &slot, rounds, wakes));
                }
            }
        }
        let shown = best.map(|nanos| match nanos {
            f64::MAX => "-".to_owned(),
            nanos => format!("{nanos:.1}"),
        });
        let [bare, off, on] = shown;
        println!("{what}, ns: bare {bare}, not seen {off}, seen {on}");
    }
    drop(watched);
    if wants("dump") {
        dump(10);
        dump(100_000);
    }
}

/// A future that was made while tasks were off: watched in type alone.
fn unseen(slot: &Slot) -> impl Future<Output = ()> + use<> {
    everprof::tasks::set_watching(false);
    let future = three(Arc::clone(slot)).watched();
    everprof::tasks::set_watching(true);
    future
}

fn dump(count: usize) {
    let slots: Vec<Slot> = (0..count).map(|_| Slot::default()).collect();
    let before = resident_bytes();
    let mut tasks: Vec<_> = slots
        .iter()
        .map(|slot| boxed(three(Arc::clone(slot))))
        .collect();
    poll_all(&mut tasks);
    let bare = resident_bytes() - before;
    // Kept, so that the memory of these is not that of the others.
    let more: Vec<Slot> = (0..count).map(|_| Slot::default()).collect();
    let before = resident_bytes();
    let mut watched_tasks: Vec<_> = more
        .iter()
        .map(|slot| boxed(three(Arc::clone(slot)).watched()))
        .collect();
    poll_all(&mut watched_tasks);
    let watched = resident_bytes() - before;
    for _ in 0..3 {
        let begun = Instant::now();
        let answer = everprof::handle(&everprof::Request::get("/debug/pprof/tasks"));
        println!(
            "{count} tasks: profile with names {:.1} ms, {} bytes",
            begun.elapsed().as_secs_f64() * 1e3,
            answer.body.len()
        );
    }
    let begun = Instant::now();
    let answer = everprof::handle(&everprof::Request::get("/debug/pprof/tasks?debug=2"));
    println!(
        "{count} tasks: a paragraph each {:.1} ms, {} bytes",
        begun.elapsed().as_secs_f64() * 1e3,
        answer.body.len()
    );
    let each = |bytes: i64| bytes as f64 / count as f64;
    println!(
        "resident a task: bare {:.0} B, watched {:.0} B",
        each(bare),
        each(watched)
    );
}

fn poll_all(tasks: &mut [Pin<Box<dyn Future<Output = ()>>>]) {
    let waker = Waker::from(Arc::new(Nobody));
    for task in tasks {
        let _ = task.as_mut().poll(&mut Context::from_waker(&waker));
    }
}

fn resident_bytes() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: i64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * 4096
}
