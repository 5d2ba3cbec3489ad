//! Channels alone.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;

use super::{Is, Scope, shapes};

shapes!(
    result_that_nobody_takes: "kubernetes 5316, moby 4395, moby 33781",
    error_that_nobody_takes: "moby 33293",
    only_the_first_of_several: "grpc 862, istio 17860",
    sender_forgotten: "cockroach 35073, grpc 660, grpc 1424",
    no_sender_at_all: "kubernetes 38669, istio 18454",
    full_before_it_starts: "cockroach 24808",
    crosswise: "cockroach 2448",
    first_input_full: "cockroach 35931",
    stopped_while_it_sends: "syncthing 5795",
    stop_that_came_too_late: "etcd 6857",
    waits_to_be_drained: "cockroach 25456",
    reply_in_a_queue: "grpc 1275",
    receiver_given_up: "moby 21233",
);

/// Who asked has taken another way, and keeps the receiver.
fn result_that_nobody_takes(scope: &Scope, is: Is) {
    let (sender, receiver) = flume::bounded(0);
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        // The result of a closed channel is nobody's.
        let _ = sender.send_async(()).await;
    });
    if is.leaky() {
        scope.keep(receiver);
    }
}

fn error_that_nobody_takes(scope: &Scope, is: Is) {
    let (errors, receiver) = async_channel::bounded(1);
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        for _ in 0..2 {
            let _ = errors.send("failed").await;
        }
    });
    if is.leaky() {
        scope.keep(receiver);
    }
}

/// Three answer; there is room for one more than is taken.
fn only_the_first_of_several(scope: &Scope, is: Is) {
    let (sender, mut receiver) = mpsc::channel(1);
    for _ in 0..3 {
        let (sender, gate) = (sender.clone(), scope.gate());
        scope.task(async move {
            gate.opened().await;
            let _ = sender.send(()).await;
        });
    }
    let keep = Arc::new(std::sync::Mutex::new(None));
    let kept = keep.clone();
    scope.task(async move {
        assert!(receiver.recv().await.is_some());
        if is.leaky() {
            *kept.lock().expect("nobody panics") = Some(receiver);
        }
    });
    scope.keep(keep);
}

/// A clone that a struct still has keeps the channel open.
fn sender_forgotten(scope: &Scope, is: Is) {
    let (sender, mut receiver) = mpsc::channel(4);
    let gate = scope.gate();
    if is.leaky() {
        scope.keep(sender.clone());
    }
    scope.task(async move {
        gate.opened().await;
        assert!(sender.send(()).await.is_ok());
    });
    scope.task(async move { while receiver.recv().await.is_some() {} });
}

fn no_sender_at_all(scope: &Scope, is: Is) {
    let (sender, receiver) = async_channel::unbounded();
    if is.leaky() {
        scope.keep(sender);
    } else {
        let gate = scope.gate();
        scope.task(async move {
            gate.opened().await;
            assert!(sender.send(()).await.is_ok());
        });
    }
    scope.task(async move { assert!(receiver.recv().await.is_ok()) });
}

/// It fills what it alone will empty.
fn full_before_it_starts(scope: &Scope, is: Is) {
    let (sender, mut receiver) = mpsc::channel(if is.leaky() { 1 } else { 2 });
    let gate = scope.gate();
    scope.task(async move {
        assert!(sender.send(()).await.is_ok());
        gate.opened().await;
        assert!(sender.send(()).await.is_ok());
        drop(sender);
        while receiver.recv().await.is_some() {}
    });
}

/// Two who send to each other before they receive.
fn crosswise(scope: &Scope, is: Is) {
    let (one, from_one) = async_channel::bounded(1);
    let (other, from_other) = async_channel::bounded(1);
    for (sender, receiver) in [(one, from_other), (other, from_one)] {
        let gate = scope.gate();
        scope.task(async move {
            gate.opened().await;
            let sends = async {
                for _ in 0..3 {
                    assert!(sender.send(()).await.is_ok());
                }
                drop(sender);
            };
            let receives = async { while receiver.recv().await.is_ok() {} };
            if is.leaky() {
                sends.await;
                receives.await;
            } else {
                tokio::join!(sends, receives);
            }
        });
    }
}

/// Who cancels tells the inputs one by one; the first is full and the second is listened to.
fn first_input_full(scope: &Scope, is: Is) {
    let (first, mut from_first) = mpsc::channel(1);
    let (second, mut from_second) = mpsc::channel(1);
    assert!(first.try_send("value").is_ok());
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        let tells = [first.send("cancelled"), second.send("cancelled")];
        if is.leaky() {
            for tell in tells {
                assert!(tell.await.is_ok());
            }
        } else {
            futures::future::join_all(tells).await;
        }
    });
    scope.task(async move {
        assert!(from_second.recv().await.is_some());
        while from_first.recv().await.is_some() {}
    });
}

/// A loop that is asked to stop while it sends to the one who asks.
fn stopped_while_it_sends(scope: &Scope, is: Is) {
    let (results, mut received) = mpsc::channel(1);
    let (stopped, told) = oneshot::channel::<()>();
    scope.task(async move {
        for _ in 0..3 {
            if results.send(()).await.is_err() {
                break;
            }
        }
        drop(stopped);
    });
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        if !is.leaky() {
            received.close();
            while received.recv().await.is_some() {}
        }
        drop(told.await);
    });
}

/// The loop has ended and will not take the second stop.
fn stop_that_came_too_late(scope: &Scope, is: Is) {
    let (stop, stopped) = flume::bounded(0);
    for _ in 0..2 {
        let (stop, gate) = (stop.clone(), scope.gate());
        scope.task(async move {
            gate.opened().await;
            let _ = stop.send_async(()).await;
        });
    }
    let listens = stopped.clone();
    scope.task(async move { assert!(listens.recv_async().await.is_ok()) });
    if is.leaky() {
        scope.keep(stopped);
    }
}

/// Asks whether it is being drained by waiting until it is.
fn waits_to_be_drained(scope: &Scope, is: Is) {
    let (drains, draining) = tokio::sync::watch::channel(false);
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        let mut draining = draining;
        if is.leaky() {
            drop(draining.changed().await);
        } else {
            assert!(!*draining.borrow_and_update());
        }
    });
    scope.keep(drains);
}

/// A request whose answer is owed by an actor that has stopped, and left its queue.
fn reply_in_a_queue(scope: &Scope, is: Is) {
    let (requests, queue) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let (stops, gate) = (scope.gate(), scope.gate());
    scope.task(async move {
        gate.opened().await;
        let (reply, replied) = oneshot::channel();
        // Nobody answers where nobody listens.
        let _ = requests.send(reply);
        drop(replied.await);
    });
    if is.leaky() {
        scope.keep(queue);
    } else {
        scope.task(async move {
            stops.opened().await;
            drop(queue);
        });
    }
}

/// The test that consumed has failed, and the producer goes on.
fn receiver_given_up(scope: &Scope, is: Is) {
    let (progress, receiver) = async_channel::bounded(1);
    let takes = receiver.clone();
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        for step in 0..4 {
            if progress.send(step).await.is_err() {
                break;
            }
        }
    });
    scope.task(async move {
        let mut next = takes.recv().await;
        while next.is_ok_and(|step| step < 1 || !is.leaky()) {
            next = takes.recv().await;
        }
        yield_now().await;
    });
    if is.leaky() {
        scope.keep(receiver);
    }
}
