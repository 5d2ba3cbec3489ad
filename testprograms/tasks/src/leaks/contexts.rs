//! What should have been cancelled.

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Is, Scope, shapes};

shapes!(
    never_cancelled: "cockroach 13197, cockroach 13755",
    cancelled_and_not_drained: "cockroach 10790, cockroach 18101, kubernetes 25331",
    done_never_closed: "kubernetes 70277",
    subscriber_without_a_publisher: "moby 33781",
);

/// Who made it returned and did not cancel it.
fn never_cancelled(scope: &Scope, is: Is) {
    let token = CancellationToken::new();
    let (waits, gate) = (token.child_token(), scope.gate());
    scope.task(async move { waits.cancelled().await });
    let guard = (!is.leaky()).then(|| token.clone().drop_guard());
    scope.task(async move {
        gate.opened().await;
        drop(guard);
    });
    scope.keep(token);
}

/// Who receives has left at the cancellation; who sends was not told.
fn cancelled_and_not_drained(scope: &Scope, is: Is) {
    let token = CancellationToken::new();
    let (sender, receiver) = async_channel::bounded(1);
    let (sends, receives, gate) = (token.clone(), token.clone(), scope.gate());
    scope.task(async move {
        loop {
            if is.leaky() {
                assert!(sender.send(()).await.is_ok());
            } else if sends.run_until_cancelled(sender.send(())).await.is_none() {
                break;
            }
        }
    });
    scope.keep(receiver.clone());
    scope.task(async move {
        // Takes what is there, and then waits for the end.
        assert!(receiver.recv().await.is_ok());
        receives.cancelled().await;
    });
    scope.task(async move {
        gate.opened().await;
        token.cancel();
    });
}

/// One of two ways to end is never taken, and the other is missed.
fn done_never_closed(scope: &Scope, is: Is) {
    let (done, mut closed) = mpsc::channel::<()>(1);
    let (after, mut timed_out) = mpsc::channel::<()>(1);
    scope.task(async move {
        tokio::select! {
            _ = closed.recv() => {}
            _ = timed_out.recv() => {}
        }
    });
    scope.keep(after);
    if is.leaky() {
        scope.keep(done);
    } else {
        let gate = scope.gate();
        scope.task(async move {
            gate.opened().await;
            drop(done);
        });
    }
}

fn subscriber_without_a_publisher(scope: &Scope, is: Is) {
    let (sender, mut receiver) = broadcast::channel::<()>(1);
    scope.task(async move { while receiver.recv().await.is_ok() {} });
    let gate = scope.gate();
    if is.leaky() {
        scope.keep(sender);
    } else {
        scope.task(async move {
            gate.opened().await;
            drop(sender);
        });
    }
}
