//! A channel, or a count, under a lock.

use std::sync::Arc;

use tokio::sync::{Barrier, Mutex, Notify, Semaphore, mpsc, oneshot};
use tokio::task::yield_now;

use super::{Is, Scope, shapes};

shapes!(
    sends_under_a_lock: "etcd 7443, etcd 7492, grpc 1353, istio 16224, kubernetes 1321, \
        kubernetes 6632, kubernetes 10182, kubernetes 26980, moby 28462",
    closes_under_a_lock: "etcd 6873, etcd 7902",
    joins_under_a_lock: "cockroach 1055",
    notified_under_a_lock: "grpc 1460, kubernetes 11298",
    waits_for_all_in_each_round: "moby 25384",
    counts_one_too_many: "cockroach 1462",
);

/// Who is to receive wants the lock first.
fn sends_under_a_lock(scope: &Scope, is: Is) {
    let (lock, gate) = (Arc::new(Mutex::new(())), scope.gate());
    let (sender, mut receiver) = mpsc::channel(1);
    let takes = lock.clone();
    scope.task(async move {
        let held = lock.lock().await;
        assert!(sender.send(1).await.is_ok());
        gate.opened().await;
        if !is.leaky() {
            drop(held);
        }
        assert!(sender.send(2).await.is_ok());
    });
    scope.task(async move {
        yield_now().await;
        let _held = takes.lock().await;
        while receiver.recv().await.is_some() {}
    });
}

/// The follower waits under the lock for the leader to close; who needs it to close.
fn closes_under_a_lock(scope: &Scope, is: Is) {
    let lock = Arc::new(async_lock::Mutex::new(()));
    let (close, closed) = async_channel::bounded::<()>(1);
    let (leader, gate) = (lock.clone(), scope.gate());
    scope.task(async move {
        let held = lock.lock().await;
        gate.opened().await;
        if !is.leaky() {
            drop(held);
        }
        assert!(closed.recv().await.is_err());
    });
    scope.task(async move {
        yield_now().await;
        let _held = leader.lock().await;
        drop(close);
    });
}

/// Stops its tasks under the lock that they want before they stop.
fn joins_under_a_lock(scope: &Scope, is: Is) {
    let (lock, gate) = (Arc::new(Mutex::new(())), scope.gate());
    scope.task(async move {
        let held = lock.lock().await;
        let wants = lock.clone();
        let child = tokio::spawn(async move { drop(wants.lock().await) });
        gate.opened().await;
        if !is.leaky() {
            drop(held);
        }
        assert!(child.await.is_ok());
    });
}

/// Waits for a signal with the lock that whoever signals takes.
fn notified_under_a_lock(scope: &Scope, is: Is) {
    let state = Arc::new((Mutex::new(false), Notify::new()));
    let (signals, gate) = (state.clone(), scope.gate());
    scope.task(async move {
        let held = state.0.lock().await;
        gate.opened().await;
        if !is.leaky() {
            drop(held);
        }
        state.1.notified().await;
    });
    scope.task(async move {
        yield_now().await;
        *signals.0.lock().await = true;
        signals.1.notify_one();
    });
}

/// Waits in each round for as many as come in all rounds.
fn waits_for_all_in_each_round(scope: &Scope, is: Is) {
    let meets = Arc::new(Barrier::new(3));
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        for _ in 0..2 {
            let meets = meets.clone();
            tokio::spawn(async move { meets.wait().await.is_leader() });
            if is.leaky() {
                meets_with(&Barrier::new(3)).await;
            }
        }
        meets_with(&meets).await;
    });
}

async fn meets_with(barrier: &Barrier) {
    barrier.wait().await;
}

/// Waits for three to have finished; two have begun.
fn counts_one_too_many(scope: &Scope, is: Is) {
    let finished = Arc::new(Semaphore::new(0));
    for _ in 0..2 {
        let (finished, gate) = (finished.clone(), scope.gate());
        scope.task(async move {
            gate.opened().await;
            finished.add_permits(1);
        });
    }
    let count = if is.leaky() { 3 } else { 2 };
    let (ends, ended) = oneshot::channel::<()>();
    scope.task(async move {
        assert!(finished.acquire_many(count).await.is_ok());
        drop(ends);
    });
    scope.task(async move { drop(ended.await) });
}
