//! Waiting for a signal.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::{Is, Scope, shapes};

shapes!(
    signalled_too_early: "moby 30408",
    never_signalled: "moby 29733",
    one_signal_for_two: "kubernetes 11298",
    watcher_of_what_is_gone: "moby 27782",
    tracker_never_closed: "cockroach 1462",
    event_lost: "moby 30408",
);

/// A signal that tells only those who wait already; who keeps one would not miss it.
fn signalled_too_early(scope: &Scope, is: Is) {
    let notify = Arc::new(Notify::new());
    if is.leaky() {
        notify.notify_waiters();
    } else {
        notify.notify_one();
    }
    let (waits, gate) = (notify.clone(), scope.gate());
    scope.task(async move {
        gate.opened().await;
        waits.notified().await;
    });
    scope.keep(notify);
}

fn never_signalled(scope: &Scope, is: Is) {
    let (notify, gate) = (Arc::new(Notify::new()), scope.gate());
    let waits = notify.clone();
    scope.task(async move { waits.notified().await });
    if is.leaky() {
        scope.keep(notify);
    } else {
        scope.task(async move {
            gate.opened().await;
            notify.notify_one();
        });
    }
}

fn one_signal_for_two(scope: &Scope, is: Is) {
    let (notify, gate) = (Arc::new(Notify::new()), scope.gate());
    for _ in 0..2 {
        let waits = notify.clone();
        scope.task(async move { waits.notified().await });
    }
    scope.task(async move {
        gate.opened().await;
        if is.leaky() {
            notify.notify_one();
        } else {
            notify.notify_waiters();
        }
    });
}

/// Waits for a change in something that only the dead would change.
fn watcher_of_what_is_gone(scope: &Scope, is: Is) {
    let (writer, mut reader) = tokio::sync::watch::channel(0);
    let writer = Arc::new(writer);
    let (writes, gate) = (writer.clone(), scope.gate());
    scope.task(async move {
        gate.opened().await;
        writes.send_replace(1);
    });
    scope.task(async move { while reader.changed().await.is_ok() {} });
    if is.leaky() {
        scope.keep(writer);
    }
}

/// Waits until all have ended and none will come: the latter is never said.
fn tracker_never_closed(scope: &Scope, is: Is) {
    let (tracker, gate) = (TaskTracker::new(), scope.gate());
    let waits = tracker.clone();
    scope.task(async move { waits.wait().await });
    scope.task(
        tracker
            .clone()
            .track_future(async move { gate.opened().await }),
    );
    if !is.leaky() {
        tracker.close();
    }
    scope.keep(tracker);
}

/// Listens after it has looked, where it had to look again once it listened.
fn event_lost(scope: &Scope, is: Is) {
    let event = Arc::new(event_listener::Event::<()>::new());
    let (listens, gate) = (event.clone(), scope.gate());
    scope.task(async move {
        let before = (!is.leaky()).then(|| listens.listen());
        gate.opened().await;
        listens.notify(usize::MAX);
        match before {
            Some(listener) => listener.await,
            None => listens.listen().await,
        }
    });
    scope.keep(event);
}
