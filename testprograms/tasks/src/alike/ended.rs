//! Tasks that end otherwise than by being done.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
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
