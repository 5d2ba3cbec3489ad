//! What stands beside tokio: tokio-util, tokio-stream.

use std::time::Duration;

use tokio_stream::StreamExt;
use tokio_stream::wrappers::{
    BroadcastStream, IntervalStream, ReceiverStream, UnboundedReceiverStream, WatchStream,
};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::time::DelayQueue;

use super::{Here, cases};

cases!(
    waits_in_cancellation_token,
    waits_in_run_until_cancelled in 2,
    waits_in_task_tracker,
    waits_in_delay_queue,
    waits_in_framed_lines,
    waits_in_receiver_stream,
    waits_in_unbounded_receiver_stream,
    waits_in_broadcast_stream,
    waits_in_watch_stream,
    waits_in_interval_stream,
    waits_in_merged_streams in 2,
);

const LONG: Duration = Duration::from_secs(100_000);

async fn waits_in_cancellation_token(here: Here) {
    let token = CancellationToken::new();
    here.waits(token.cancelled()).await;
}

async fn waits_in_run_until_cancelled(here: Here) {
    let (token, notify) = (CancellationToken::new(), tokio::sync::Notify::new());
    here.waits(token.run_until_cancelled(notify.notified()))
        .await;
}

async fn waits_in_task_tracker(here: Here) {
    let tracker = TaskTracker::new();
    here.waits(tracker.wait()).await;
}

async fn waits_in_delay_queue(here: Here) {
    let mut queue = DelayQueue::new();
    queue.insert((), LONG);
    here.waits(queue.next()).await;
}

async fn waits_in_framed_lines(here: Here) {
    let (stream, _other) = tokio::io::duplex(8);
    let mut lines = FramedRead::new(stream, LinesCodec::new());
    here.waits(lines.next()).await;
}

async fn waits_in_receiver_stream(here: Here) {
    let (_sender, receiver) = tokio::sync::mpsc::channel::<()>(1);
    here.waits(ReceiverStream::new(receiver).next()).await;
}

async fn waits_in_unbounded_receiver_stream(here: Here) {
    let (_sender, receiver) = tokio::sync::mpsc::unbounded_channel::<()>();
    here.waits(UnboundedReceiverStream::new(receiver).next())
        .await;
}

async fn waits_in_broadcast_stream(here: Here) {
    let (_sender, receiver) = tokio::sync::broadcast::channel::<()>(1);
    here.waits(BroadcastStream::new(receiver).next()).await;
}

async fn waits_in_watch_stream(here: Here) {
    let (_sender, receiver) = tokio::sync::watch::channel(());
    here.waits(WatchStream::from_changes(receiver).next()).await;
}

async fn waits_in_interval_stream(here: Here) {
    let mut interval = IntervalStream::new(tokio::time::interval(LONG));
    interval.next().await;
    here.waits(interval.next()).await;
}

async fn waits_in_merged_streams(here: Here) {
    let (_sender, one) = tokio::sync::mpsc::channel::<()>(1);
    let (_other_sender, other) = tokio::sync::mpsc::channel::<()>(1);
    let mut merged = ReceiverStream::new(one).merge(ReceiverStream::new(other));
    here.waits(merged.next()).await;
}
