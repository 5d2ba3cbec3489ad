//! What the crate futures makes of several futures, or of one.

use futures::channel::oneshot::{self, Receiver, Sender};
use futures::future::{self, FutureExt};
use futures::stream::{self, FuturesOrdered, FuturesUnordered, StreamExt};

use super::{Here, cases};

cases!(
    waits_in_futures_join in 2,
    waits_in_futures_join_macro in 2,
    waits_in_futures_try_join in 2,
    waits_in_futures_select in 2,
    waits_in_futures_select_macro in 2,
    waits_in_futures_select_all,
    waits_in_futures_select_ok,
    waits_in_join_all_of_few,
    waits_in_join_all_of_many,
    waits_in_try_join_all,
    waits_in_futures_unordered,
    waits_in_futures_ordered,
    waits_in_buffer_unordered,
    waits_in_buffered,
    waits_in_for_each_concurrent,
    waits_in_flatten_unordered,
    waits_in_select_all_streams,
    waits_in_shared,
    waits_in_abortable,
    waits_in_catch_unwind,
    waits_in_remote_handle,
    waits_in_then,
    waits_in_stream_of_futures,
    waits_in_zipped_streams in 2,
    waits_in_forward,
);

/// Futures that wait, and what keeps them so.
fn few(count: usize) -> (Vec<Sender<()>>, Vec<Receiver<()>>) {
    (0..count).map(|_| oneshot::channel()).unzip()
}

/// Two.
fn two() -> (Vec<Sender<()>>, Receiver<()>, Receiver<()>) {
    let (senders, receivers) = few(2);
    let [one, other] = receivers.try_into().expect("two were asked for");
    (senders, one, other)
}

async fn waits_in_futures_join(here: Here) {
    let (_senders, one, other) = two();
    let (one, other) = here.waits(future::join(one, other)).await;
    assert!(one.and(other).is_ok());
}

async fn waits_in_futures_join_macro(here: Here) {
    let (_senders, one, other) = two();
    let (one, other) = here.waits(async { futures::join!(one, other) }).await;
    assert!(one.and(other).is_ok());
}

async fn waits_in_futures_try_join(here: Here) {
    let (_senders, one, other) = two();
    assert!(here.waits(future::try_join(one, other)).await.is_ok());
}

async fn waits_in_futures_select(here: Here) {
    let (_senders, one, other) = two();
    drop(here.waits(future::select(one, other)).await);
}

async fn waits_in_futures_select_macro(here: Here) {
    let (_senders, one, other) = two();
    let (mut one, mut other) = (one.fuse(), other.fuse());
    here.waits(async {
        futures::select! {
            _ = one => {}
            _ = other => {}
        }
    })
    .await;
}

async fn waits_in_futures_select_all(here: Here) {
    let (_senders, receivers) = few(3);
    drop(here.waits(future::select_all(receivers)).await);
}

async fn waits_in_futures_select_ok(here: Here) {
    let (_senders, receivers) = few(3);
    assert!(here.waits(future::select_ok(receivers)).await.is_ok());
}

async fn waits_in_join_all_of_few(here: Here) {
    let (_senders, receivers) = few(3);
    drop(here.waits(future::join_all(receivers)).await);
}

/// Of more than thirty, futures makes a set that has wakers of its own.
async fn waits_in_join_all_of_many(here: Here) {
    let (_senders, receivers) = few(40);
    drop(here.waits(future::join_all(receivers)).await);
}

async fn waits_in_try_join_all(here: Here) {
    let (_senders, receivers) = few(3);
    assert!(here.waits(future::try_join_all(receivers)).await.is_ok());
}

async fn waits_in_futures_unordered(here: Here) {
    let (_senders, receivers) = few(3);
    let mut set: FuturesUnordered<_> = receivers.into_iter().collect();
    here.waits(set.next()).await;
}

async fn waits_in_futures_ordered(here: Here) {
    let (_senders, receivers) = few(3);
    let mut set: FuturesOrdered<_> = receivers.into_iter().collect();
    here.waits(set.next()).await;
}

async fn waits_in_buffer_unordered(here: Here) {
    let (_senders, receivers) = few(3);
    let mut buffered = stream::iter(receivers).buffer_unordered(2);
    here.waits(buffered.next()).await;
}

async fn waits_in_buffered(here: Here) {
    let (_senders, receivers) = few(3);
    let mut buffered = stream::iter(receivers).buffered(2);
    here.waits(buffered.next()).await;
}

async fn waits_in_for_each_concurrent(here: Here) {
    let (_senders, receivers) = few(3);
    let all = stream::iter(receivers).for_each_concurrent(2, |receiver| receiver.map(drop));
    here.waits(all).await;
}

async fn waits_in_flatten_unordered(here: Here) {
    let (_senders, receivers) = few(3);
    let streams = receivers
        .into_iter()
        .map(|receiver| Box::pin(receiver.into_stream()));
    here.waits(stream::iter(streams).flatten_unordered(2).next())
        .await;
}

async fn waits_in_select_all_streams(here: Here) {
    let (_senders, receivers) = few(3);
    let streams = receivers.into_iter().map(FutureExt::into_stream);
    here.waits(stream::select_all(streams).next()).await;
}

async fn waits_in_shared(here: Here) {
    let (_senders, one, _) = two();
    assert!(here.waits(one.shared()).await.is_ok());
}

async fn waits_in_abortable(here: Here) {
    let (_senders, one, _) = two();
    let (abortable, _handle) = future::abortable(one);
    assert!(here.waits(abortable).await.is_ok());
}

async fn waits_in_catch_unwind(here: Here) {
    let (_senders, one, _) = two();
    assert!(
        here.waits(std::panic::AssertUnwindSafe(one).catch_unwind())
            .await
            .is_ok()
    );
}

async fn waits_in_remote_handle(here: Here) {
    let (_senders, one, _) = two();
    let (_remote, handle) = one.map(drop).remote_handle();
    here.waits(handle).await;
}

async fn waits_in_then(here: Here) {
    let (_senders, one, other) = two();
    assert!(here.waits(one.then(|_| other)).await.is_ok());
}

async fn waits_in_stream_of_futures(here: Here) {
    let (_senders, receivers) = few(2);
    let stream = stream::iter(receivers).then(std::convert::identity);
    here.waits(Box::pin(stream).next()).await;
}

async fn waits_in_zipped_streams(here: Here) {
    let (_senders, one, other) = two();
    let zipped = one.into_stream().zip(other.into_stream());
    here.waits(Box::pin(zipped).next()).await;
}

async fn waits_in_forward(here: Here) {
    let (_sender, receiver) = futures::channel::mpsc::unbounded::<()>();
    let nowhere = futures::sink::drain();
    assert!(here.waits(receiver.map(Ok).forward(nowhere)).await.is_ok());
}
