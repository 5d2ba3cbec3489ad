//! The leaves of std and of the crate futures.

use std::task::Poll;

use futures::channel::{mpsc, oneshot};
use futures::lock::Mutex;
use futures::{SinkExt, StreamExt};

use super::{Here, cases};

cases!(
    waits_in_futures_oneshot,
    waits_in_futures_cancellation,
    waits_in_futures_mpsc,
    waits_in_futures_mpsc_send,
    waits_in_futures_unbounded,
    waits_in_futures_mutex,
    waits_in_futures_timer,
    waits_in_a_future_by_hand,
    waits_in_std_pending in 0,
    waits_in_futures_pending in 0,
    waits_in_futures_pending_macro in 0,
    waits_in_stream_pending in 0,
);

async fn waits_in_futures_oneshot(here: Here) {
    let (_sender, receiver) = oneshot::channel::<()>();
    assert!(here.waits(receiver).await.is_ok());
}

async fn waits_in_futures_cancellation(here: Here) {
    let (mut sender, _receiver) = oneshot::channel::<()>();
    here.waits(sender.cancellation()).await;
}

async fn waits_in_futures_mpsc(here: Here) {
    let (_sender, mut receiver) = mpsc::channel::<()>(0);
    here.waits(receiver.next()).await;
}

async fn waits_in_futures_mpsc_send(here: Here) {
    let (mut sender, _receiver) = mpsc::channel(0);
    assert!(sender.feed(()).await.is_ok());
    assert!(here.waits(sender.send(())).await.is_ok());
}

async fn waits_in_futures_unbounded(here: Here) {
    let (_sender, mut receiver) = mpsc::unbounded::<()>();
    here.waits(receiver.next()).await;
}

async fn waits_in_futures_mutex(here: Here) {
    let lock = Mutex::new(());
    let _held = lock.lock().await;
    drop(here.waits(lock.lock()).await);
}

async fn waits_in_futures_timer(here: Here) {
    here.waits(futures_timer::Delay::new(std::time::Duration::from_secs(
        100_000,
    )))
    .await;
}

/// As many write one.
async fn waits_in_a_future_by_hand(here: Here) {
    let kept = Mutex::new(None);
    let by_hand = std::future::poll_fn(|context| {
        let mut kept = kept.try_lock().expect("nobody else has it");
        kept.get_or_insert_with(|| context.waker().clone());
        Poll::<()>::Pending
    });
    here.waits(by_hand).await;
}

// Nobody is told to wake those that follow: no waker, no stack.

async fn waits_in_std_pending(here: Here) {
    here.waits(std::future::pending()).await
}

async fn waits_in_futures_pending(here: Here) {
    here.waits(futures::future::pending()).await
}

async fn waits_in_futures_pending_macro(here: Here) {
    here.waits(async { futures::pending!() }).await;
}

async fn waits_in_stream_pending(here: Here) {
    here.waits(futures::stream::pending::<()>().next()).await;
}
