//! Tokio's channels and locks.

use tokio::sync::{
    Barrier, Mutex, Notify, OnceCell, RwLock, Semaphore, SetOnce, broadcast, mpsc, oneshot, watch,
};

use super::{Here, cases};

cases!(
    waits_in_tokio_mpsc_recv,
    waits_in_tokio_mpsc_recv_many,
    waits_in_tokio_mpsc_send,
    waits_in_tokio_mpsc_reserve,
    waits_in_tokio_mpsc_closed,
    waits_in_tokio_unbounded_recv,
    waits_in_tokio_oneshot,
    waits_in_tokio_oneshot_closed,
    waits_in_tokio_broadcast,
    waits_in_tokio_watch_changed,
    waits_in_tokio_watch_wait_for,
    waits_in_tokio_watch_closed,
    waits_in_tokio_mutex,
    waits_in_tokio_mutex_owned,
    waits_in_tokio_rwlock_read,
    waits_in_tokio_rwlock_write,
    waits_in_tokio_semaphore,
    waits_in_tokio_semaphore_many,
    waits_in_tokio_notify,
    waits_in_tokio_barrier,
    waits_in_tokio_once_cell,
    waits_in_tokio_set_once,
);

async fn waits_in_tokio_mpsc_recv(here: Here) {
    let (_sender, mut receiver) = mpsc::channel::<()>(1);
    here.waits(receiver.recv()).await;
}

async fn waits_in_tokio_mpsc_recv_many(here: Here) {
    let (_sender, mut receiver) = mpsc::channel::<()>(1);
    here.waits(receiver.recv_many(&mut Vec::new(), 2)).await;
}

async fn waits_in_tokio_mpsc_send(here: Here) {
    let (sender, _receiver) = mpsc::channel(1);
    assert!(sender.send(()).await.is_ok());
    assert!(here.waits(sender.send(())).await.is_ok());
}

async fn waits_in_tokio_mpsc_reserve(here: Here) {
    let (sender, _receiver) = mpsc::channel(1);
    assert!(sender.send(()).await.is_ok());
    assert!(here.waits(sender.reserve()).await.is_ok());
}

async fn waits_in_tokio_mpsc_closed(here: Here) {
    let (sender, _receiver) = mpsc::channel::<()>(1);
    here.waits(sender.closed()).await;
}

async fn waits_in_tokio_unbounded_recv(here: Here) {
    let (_sender, mut receiver) = mpsc::unbounded_channel::<()>();
    here.waits(receiver.recv()).await;
}

async fn waits_in_tokio_oneshot(here: Here) {
    let (_sender, receiver) = oneshot::channel::<()>();
    assert!(here.waits(receiver).await.is_ok());
}

async fn waits_in_tokio_oneshot_closed(here: Here) {
    let (mut sender, _receiver) = oneshot::channel::<()>();
    here.waits(sender.closed()).await;
}

async fn waits_in_tokio_broadcast(here: Here) {
    let (_sender, mut receiver) = broadcast::channel::<()>(1);
    assert!(here.waits(receiver.recv()).await.is_ok());
}

async fn waits_in_tokio_watch_changed(here: Here) {
    let (_sender, mut receiver) = watch::channel(());
    assert!(here.waits(receiver.changed()).await.is_ok());
}

async fn waits_in_tokio_watch_wait_for(here: Here) {
    let (_sender, mut receiver) = watch::channel(1);
    assert!(
        here.waits(receiver.wait_for(|&value| value > 1))
            .await
            .is_ok()
    );
}

async fn waits_in_tokio_watch_closed(here: Here) {
    let (sender, _receiver) = watch::channel(());
    here.waits(sender.closed()).await;
}

async fn waits_in_tokio_mutex(here: Here) {
    let lock = Mutex::new(());
    let _held = lock.lock().await;
    drop(here.waits(lock.lock()).await);
}

async fn waits_in_tokio_mutex_owned(here: Here) {
    let lock = std::sync::Arc::new(Mutex::new(()));
    let _held = lock.lock().await;
    drop(here.waits(lock.clone().lock_owned()).await);
}

async fn waits_in_tokio_rwlock_read(here: Here) {
    let lock = RwLock::new(());
    let _held = lock.write().await;
    drop(here.waits(lock.read()).await);
}

async fn waits_in_tokio_rwlock_write(here: Here) {
    let lock = RwLock::new(());
    let _held = lock.read().await;
    drop(here.waits(lock.write()).await);
}

async fn waits_in_tokio_semaphore(here: Here) {
    let semaphore = Semaphore::new(0);
    assert!(here.waits(semaphore.acquire()).await.is_ok());
}

async fn waits_in_tokio_semaphore_many(here: Here) {
    let semaphore = Semaphore::new(2);
    assert!(here.waits(semaphore.acquire_many(3)).await.is_ok());
}

async fn waits_in_tokio_notify(here: Here) {
    let notify = Notify::new();
    here.waits(notify.notified()).await;
}

async fn waits_in_tokio_barrier(here: Here) {
    let barrier = Barrier::new(2);
    here.waits(barrier.wait()).await;
}

/// Another initialises it, in the same task.
async fn waits_in_tokio_once_cell(here: Here) {
    let cell = OnceCell::<()>::new();
    let first = cell.get_or_init(std::future::pending);
    let second = here.waits(cell.get_or_init(std::future::pending));
    tokio::join!(first, second);
}

async fn waits_in_tokio_set_once(here: Here) {
    let cell = SetOnce::<()>::new();
    here.waits(cell.wait()).await;
}
