//! Channels of crates that know no executor.

use super::{Here, cases};

cases!(
    waits_in_async_channel_recv,
    waits_in_async_channel_send,
    waits_in_async_channel_closed,
    waits_in_async_broadcast_recv,
    waits_in_async_broadcast_send,
    waits_in_flume_recv,
    waits_in_flume_send,
    waits_in_flume_stream,
    waits_in_kanal_recv,
    waits_in_kanal_send,
    waits_in_event_listener,
);

async fn waits_in_async_channel_recv(here: Here) {
    let (_sender, receiver) = async_channel::bounded::<()>(1);
    assert!(here.waits(receiver.recv()).await.is_ok());
}

async fn waits_in_async_channel_send(here: Here) {
    let (sender, _receiver) = async_channel::bounded(1);
    assert!(sender.send(()).await.is_ok());
    assert!(here.waits(sender.send(())).await.is_ok());
}

async fn waits_in_async_channel_closed(here: Here) {
    let (sender, _receiver) = async_channel::bounded::<()>(1);
    here.waits(sender.closed()).await;
}

async fn waits_in_async_broadcast_recv(here: Here) {
    let (_sender, mut receiver) = async_broadcast::broadcast::<()>(1);
    assert!(here.waits(receiver.recv()).await.is_ok());
}

async fn waits_in_async_broadcast_send(here: Here) {
    let (sender, _receiver) = async_broadcast::broadcast(1);
    assert!(sender.broadcast(()).await.is_ok());
    assert!(here.waits(sender.broadcast(())).await.is_ok());
}

async fn waits_in_flume_recv(here: Here) {
    let (_sender, receiver) = flume::bounded::<()>(1);
    assert!(here.waits(receiver.recv_async()).await.is_ok());
}

async fn waits_in_flume_send(here: Here) {
    let (sender, _receiver) = flume::bounded(1);
    assert!(sender.send_async(()).await.is_ok());
    assert!(here.waits(sender.send_async(())).await.is_ok());
}

async fn waits_in_flume_stream(here: Here) {
    let (_sender, receiver) = flume::unbounded::<()>();
    here.waits(futures::StreamExt::next(&mut receiver.stream()))
        .await;
}

async fn waits_in_kanal_recv(here: Here) {
    let (_sender, receiver) = kanal::bounded_async::<()>(0);
    assert!(here.waits(receiver.recv()).await.is_ok());
}

async fn waits_in_kanal_send(here: Here) {
    let (sender, _receiver) = kanal::bounded_async(0);
    assert!(here.waits(sender.send(())).await.is_ok());
}

async fn waits_in_event_listener(here: Here) {
    let event = event_listener::Event::<()>::new();
    here.waits(event.listen()).await;
}
