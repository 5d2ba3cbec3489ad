//! Locks alone.

use std::sync::Arc;

use tokio::sync::{Mutex, RwLock, Semaphore};
use tokio::task::yield_now;

use super::{Is, Scope, shapes};

shapes!(
    double_lock: "cockroach 9935, etcd 6708, etcd 10492, hugo 5379, moby 36114, syncthing 4829",
    lock_kept_by_an_early_return: "cockroach 584, grpc 795, grpc 3017, moby 7559, moby 17176",
    read_lock_kept_by_a_failure: "etcd 5509",
    opposite_order: "cockroach 7504, cockroach 10214, hugo 3251, kubernetes 13135, moby 4951",
    opposite_order_of_three: "kubernetes 30872",
    read_again_behind_a_writer: "cockroach 3710, cockroach 6181, kubernetes 58107, kubernetes 62464",
    read_while_it_writes: "cockroach 16167",
    permit_held_for_a_child: "serving 2137",
);

/// A method that locks calls one that locks as well.
fn double_lock(scope: &Scope, is: Is) {
    let (lock, gate) = (Arc::new(Mutex::new(0)), scope.gate());
    scope.task(async move {
        let mut held = lock.lock().await;
        gate.opened().await;
        *held += 1;
        if !is.leaky() {
            drop(held);
        }
        *lock.lock().await += 1;
    });
}

fn lock_kept_by_an_early_return(scope: &Scope, is: Is) {
    let lock = Arc::new(Mutex::new(()));
    let (kept, gate) = (scope.gate(), scope.gate());
    let held = lock.clone().try_lock_owned();
    if is.leaky() {
        scope.keep(held);
    } else {
        scope.task(async move {
            kept.opened().await;
            drop(held);
        });
    }
    scope.task(async move {
        drop(lock.lock().await);
        gate.opened().await;
    });
}

/// What fails returns with the lock in its error.
fn read_lock_kept_by_a_failure(scope: &Scope, is: Is) {
    let lock = Arc::new(RwLock::new(()));
    let (errors, gate) = (tokio::sync::mpsc::channel(1), scope.gate());
    let (reader, is_leaky) = (lock.clone(), is.leaky());
    let (tell, told) = errors;
    scope.task(async move {
        let held = reader.read_owned().await;
        gate.opened().await;
        let kept = is_leaky.then_some(held);
        assert!(tell.send(kept).await.is_ok());
    });
    scope.keep(told);
    scope.task(async move {
        yield_now().await;
        drop(lock.write().await);
    });
}

fn opposite_order(scope: &Scope, is: Is) {
    let locks = Arc::new([async_lock::Mutex::new(()), async_lock::Mutex::new(())]);
    for order in [[0, 1], if is.leaky() { [1, 0] } else { [0, 1] }] {
        let (locks, gate) = (locks.clone(), scope.gate());
        scope.task(async move {
            let _first = locks[order[0]].lock().await;
            gate.opened().await;
            drop(locks[order[1]].lock().await);
        });
    }
}

fn opposite_order_of_three(scope: &Scope, is: Is) {
    let locks = Arc::new([const { Mutex::const_new(()) }; 3]);
    for [first, second] in [[0, 1], [1, 2], if is.leaky() { [2, 0] } else { [0, 2] }] {
        let (locks, gate) = (locks.clone(), scope.gate());
        scope.task(async move {
            let _first = locks[first].lock().await;
            gate.opened().await;
            drop(locks[second].lock().await);
        });
    }
}

/// A reader who reads again behind a writer, who waits for the first.
fn read_again_behind_a_writer(scope: &Scope, is: Is) {
    let lock = Arc::new(RwLock::new(()));
    let (reads, gate) = (lock.clone(), scope.gate());
    scope.task(async move {
        let held = reads.read().await;
        gate.opened().await;
        if !is.leaky() {
            drop(held);
        }
        drop(reads.read().await);
    });
    scope.task(async move {
        yield_now().await;
        drop(lock.write().await);
    });
}

fn read_while_it_writes(scope: &Scope, is: Is) {
    let (lock, gate) = (Arc::new(async_lock::RwLock::new(0)), scope.gate());
    scope.task(async move {
        let mut held = lock.write().await;
        gate.opened().await;
        *held += 1;
        if !is.leaky() {
            drop(held);
        }
        drop(lock.read().await);
    });
}

/// Each of two has a permit, and neither child gets one.
fn permit_held_for_a_child(scope: &Scope, is: Is) {
    let permits = Arc::new(Semaphore::new(2));
    for _ in 0..2 {
        let (permits, gate) = (permits.clone(), scope.gate());
        scope.task(async move {
            let held = permits.clone().acquire_owned().await;
            gate.opened().await;
            if !is.leaky() {
                drop(held);
            }
            let child = tokio::spawn(async move { permits.acquire().await.is_ok() });
            assert!(child.await.is_ok());
        });
    }
}
