//! Tasks that end otherwise than by being done.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::sleep;

use super::Course;

const MOMENT: Duration = Duration::from_millis(10);

pub async fn aborted(course: Course) {
    let (_keep, told) = oneshot::channel::<()>();
    let waits = course.spawn("waits", async move { drop(told.await) });
    let at_once = course.spawn("at once", async {});
    at_once.abort();
    yield_now().await;
    waits.abort();
    course.says(waits.await.is_err());
    course.says(at_once.await.is_err());
}

/// In its second poll, with a leaf that has a waker of it.
pub async fn panics(course: Course) {
    let (kept, told) = oneshot::channel::<()>();
    let panics = course.spawn("panics", async move {
        let mut told = told;
        assert!(futures::poll!(&mut told).is_pending());
        yield_now().await;
        // Without the words on stderr that a panic has.
        std::panic::resume_unwind(Box::new("as it is to"));
    });
    course.says(panics.await.is_err());
    course.says(kept.is_closed());
}

/// Whoever polls it goes on.
pub async fn panic_that_is_caught(course: Course) {
    let inner = course.watched("inner", async {
        yield_now().await;
        std::panic::resume_unwind(Box::new("as it is to"));
    });
    let noted = course.clone();
    let outer = course.spawn("outer", async move {
        noted.says(AssertUnwindSafe(inner).catch_unwind().await.is_err());
        yield_now().await;
        sleep(MOMENT).await;
    });
    assert!(outer.await.is_ok());
}

/// In the poll in which they were polled in vain, and woken.
pub async fn dropped_in_the_midst_of_a_poll(course: Course) {
    let (tell, told) = oneshot::channel::<()>();
    let inner = course.watched("inner", async move { drop(told.await) });
    let outer = course.spawn("outer", async move {
        let mut parts = (inner, Some(tell));
        poll_fn(move |context| {
            let Some(tell) = parts.1.take() else {
                return Poll::Ready(());
            };
            assert!(parts.0.as_mut().poll(context).is_pending());
            assert!(tell.send(()).is_ok());
            parts.0 = Box::pin(async {});
            Poll::Pending
        })
        .await;
    });
    assert!(outer.await.is_ok());
}

pub async fn join_set_shut_down(course: Course) {
    let mut set = JoinSet::new();
    for (name, moments) in [("long", 9), ("short", 1), ("longer", 99)] {
        set.spawn(course.watched(name, sleep(MOMENT * moments)));
    }
    course.says(set.join_next().await.is_some());
    set.shutdown().await;
    course.says(set.len());
}

/// With what still waits in it.
pub async fn local_set_dropped(course: Course) {
    let set = LocalSet::new();
    let (_keep, told) = oneshot::channel::<()>();
    set.spawn_local(course.watched_local("waits", async move { drop(told.await) }));
    set.spawn_local(course.watched_local("ends", yield_now()));
    set.run_until(sleep(MOMENT)).await;
    drop(set);
    course.says("after it");
}

pub async fn dropped_while_it_waits(course: Course) {
    let (kept, told) = oneshot::channel::<()>();
    let mut inner = course.watched("inner", async move { drop(told.await) });
    assert!(futures::poll!(&mut inner).is_pending());
    drop(inner);
    course.says(kept.is_closed());
}

pub async fn never_polled(course: Course) {
    drop(course.watched("never", sleep(MOMENT)));
    let spawned = course.spawn("spawned", sleep(MOMENT));
    drop(spawned);
}

/// What still waits is dropped with it, wakers and all.
pub async fn runtime_shut_down(course: Course) {
    let child = course.watched("child", sleep(MOMENT * 1_000));
    course.spawn("waits", async move {
        let (_keep, told) = oneshot::channel::<()>();
        tokio::join!(child, async { drop(told.await) });
    });
    sleep(MOMENT).await;
}
