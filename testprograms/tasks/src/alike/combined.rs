//! Combinators: those that pass the task's waker on, and those that have wakers of their own.

use std::time::Duration;

use futures::future::{self, FutureExt};
use futures::stream::{self, FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{interval, sleep};

use super::Course;

const MOMENT: Duration = Duration::from_millis(10);

pub async fn futures_unordered(course: Course) {
    let noted = course.clone();
    let all = course.spawn("all", async move {
        let sleeps = [3, 1, 2].map(|moments| sleep(MOMENT * moments).map(move |()| moments));
        let mut set: FuturesUnordered<_> = sleeps.into_iter().collect();
        while let Some(moments) = set.next().await {
            noted.says(moments);
        }
    });
    assert!(all.await.is_ok());
}

/// Its children are watched, too.
pub async fn unordered_of_children(course: Course) {
    let within = course.clone();
    let all = course.spawn("all", async move {
        let children = [("third", 3), ("first", 1), ("second", 2)];
        let children = children.map(|(name, moments)| {
            within.watched(name, async move {
                yield_now().await;
                sleep(MOMENT * moments).await;
                yield_now().await;
            })
        });
        let mut set: FuturesUnordered<_> = children.into_iter().collect();
        while let Some(()) = set.next().await {
            within.says("one is done");
        }
    });
    assert!(all.await.is_ok());
}

pub async fn join_all_of_many(course: Course) {
    let within = course.clone();
    let all = course.spawn("all", async move {
        let children = (0..40).map(|index| {
            within.watched("child", async move {
                for _ in 0..index % 4 {
                    yield_now().await;
                }
            })
        });
        future::join_all(children).await;
    });
    assert!(all.await.is_ok());
}

pub async fn select_in_a_loop(course: Course) {
    let (sender, mut receiver) = mpsc::channel(1);
    let (stop, mut stopped) = oneshot::channel::<()>();
    let noted = course.clone();
    let serves = course.spawn("serves", async move {
        let mut ticks = interval(MOMENT * 4);
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                number = receiver.recv() => noted.says(format!("{number:?}")),
                _ = ticks.tick() => noted.says("tick"),
            }
        }
    });
    for number in 0..5 {
        sleep(MOMENT * 3).await;
        assert!(sender.send(number).await.is_ok());
    }
    assert!(stop.send(()).is_ok());
    assert!(serves.await.is_ok());
}

/// Polled again in each round, by its place and not by its name.
pub async fn select_over_the_same_future(course: Course) {
    let (sender, mut receiver) = mpsc::channel(1);
    let inner = course.watched("inner", sleep(MOMENT * 5));
    let noted = course.clone();
    let outer = course.spawn("outer", async move {
        let mut inner = inner;
        loop {
            tokio::select! {
                biased;
                () = &mut inner => break,
                number = receiver.recv() => noted.says(format!("{number:?}")),
            }
        }
    });
    for number in 0..3 {
        assert!(sender.send(number).await.is_ok());
        sleep(MOMENT).await;
    }
    assert!(outer.await.is_ok());
}

/// One that several wait for: whoever polls it does so for all.
pub async fn shared(course: Course) {
    let shared = course.watched("shared", async {
        for _ in 0..3 {
            sleep(MOMENT).await;
            yield_now().await;
        }
    });
    let shared = shared.shared();
    let tasks = ["a", "b", "c"].map(|name| course.spawn(name, shared.clone()));
    // One of them goes, perhaps the one that polls.
    tasks[0].abort();
    for task in tasks {
        course.says(task.await.is_ok());
    }
}

pub async fn buffered_stream(course: Course) {
    let within = course.clone();
    let all = course.spawn("all", async move {
        let sleeps = stream::iter([4, 2, 3, 1, 2]).map(|moments| {
            let child = within.watched("child", sleep(MOMENT * moments));
            child.map(move |()| moments)
        });
        let numbers: Vec<_> = sleeps.buffered(3).collect().await;
        within.says(format!("{numbers:?}"));
    });
    assert!(all.await.is_ok());
}

pub async fn abortable(course: Course) {
    let (inner, handle) = future::abortable(course.watched("inner", sleep(MOMENT * 9)));
    let noted = course.clone();
    let outer = course.spawn("outer", async move {
        noted.says(inner.await.is_err());
    });
    yield_now().await;
    handle.abort();
    assert!(outer.await.is_ok());
}

pub async fn join_of_watched(course: Course) {
    let one = course.watched("one", sleep(MOMENT));
    let other = course.watched("other", sleep(MOMENT * 2));
    let both = course.spawn("both", async move {
        tokio::join!(one, other);
    });
    assert!(both.await.is_ok());
}

/// Watched within watched within watched.
pub async fn nested(course: Course) {
    let inner = course.watched("inner", async {
        yield_now().await;
        sleep(MOMENT).await;
    });
    let middle = course.watched("middle", async move {
        yield_now().await;
        inner.await;
    });
    let outer = course.spawn("outer", async move {
        sleep(MOMENT).await;
        middle.await;
        yield_now().await;
    });
    assert!(outer.await.is_ok());
}
