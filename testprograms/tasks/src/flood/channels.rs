//! Values through channels: all that were sent are received, once.

use futures::{SinkExt, StreamExt};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{Crowd, SIDE, Sums, all_values, floods};

floods!(
    tokio_bounded,
    tokio_unbounded,
    tokio_oneshot,
    tokio_broadcast,
    tokio_watch,
    futures_bounded,
    futures_unbounded,
    flume_bounded,
    flume_rendezvous,
    async_channel_bounded,
    async_channel_full,
    async_broadcast_bounded,
    kanal_bounded,
);

async fn tokio_bounded(mut crowd: Crowd, count: u64) -> Sums {
    let (sender, mut receiver) = mpsc::channel(8);
    crowd.side(&sender, |sender, _| async move {
        for value in 1..=count {
            assert!(sender.send(value).await.is_ok());
        }
        0
    });
    drop(sender);
    crowd.task(async move {
        let mut sum = 0;
        while let Some(value) = receiver.recv().await {
            sum += value;
        }
        sum
    });
    sums(crowd, all_values(count)).await
}

async fn tokio_unbounded(mut crowd: Crowd, count: u64) -> Sums {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    crowd.side(&sender, |sender, _| async move {
        for value in 1..=count {
            assert!(sender.send(value).is_ok());
            tokio::task::coop::consume_budget().await;
        }
        0
    });
    drop(sender);
    crowd.task(async move {
        let (mut sum, mut some) = (0, Vec::new());
        while receiver.recv_many(&mut some, 16).await > 0 {
            sum += some.drain(..).sum::<u64>();
        }
        sum
    });
    sums(crowd, all_values(count)).await
}

/// A question and its answer, one at a time.
async fn tokio_oneshot(mut crowd: Crowd, count: u64) -> Sums {
    let (asks, mut asked) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(2);
    crowd.side(&asks, |asks, _| async move {
        let mut sum = 0;
        for value in 1..=count {
            let (answer, answered) = oneshot::channel();
            assert!(asks.send((value, answer)).await.is_ok());
            sum += answered.await.expect("each is answered");
        }
        sum
    });
    drop(asks);
    crowd.task(async move {
        while let Some((value, answer)) = asked.recv().await {
            assert!(answer.send(value).is_ok());
        }
        0
    });
    sums(crowd, all_values(count)).await
}

/// Everybody has everything, or is told how much not.
async fn tokio_broadcast(mut crowd: Crowd, count: u64) -> Sums {
    let (sender, _) = broadcast::channel(16);
    for _ in 0..SIDE {
        let mut receiver = sender.subscribe();
        crowd.task(async move {
            let mut heard = 0;
            loop {
                match receiver.recv().await {
                    Ok(_) => heard += 1,
                    Err(broadcast::error::RecvError::Lagged(missed)) => heard += missed,
                    Err(broadcast::error::RecvError::Closed) => break heard,
                }
            }
        });
    }
    crowd.task(async move {
        for value in 1..=count {
            assert!(sender.send(value).is_ok());
            tokio::task::coop::consume_budget().await;
        }
        0
    });
    sums(crowd, SIDE * count).await
}

/// Nobody misses the last value.
async fn tokio_watch(mut crowd: Crowd, count: u64) -> Sums {
    let (sender, receiver) = watch::channel(0);
    crowd.side(&receiver, |mut receiver, _| async move {
        while *receiver.borrow_and_update() < count {
            assert!(receiver.changed().await.is_ok());
        }
        1
    });
    drop(receiver);
    crowd.task(async move {
        for value in 1..=count {
            sender.send_replace(value);
            tokio::task::coop::consume_budget().await;
        }
        sender.closed().await;
        0
    });
    sums(crowd, SIDE).await
}

async fn futures_bounded(mut crowd: Crowd, count: u64) -> Sums {
    let (sender, mut receiver) = futures::channel::mpsc::channel(2);
    crowd.side(&sender, |mut sender, _| async move {
        for value in 1..=count {
            assert!(sender.send(value).await.is_ok());
        }
        0
    });
    drop(sender);
    crowd.task(async move {
        let mut sum = 0;
        while let Some(value) = receiver.next().await {
            sum += value;
        }
        sum
    });
    sums(crowd, all_values(count)).await
}

async fn futures_unbounded(mut crowd: Crowd, count: u64) -> Sums {
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    crowd.side(&sender, |sender, _| async move {
        for value in 1..=count {
            assert!(sender.unbounded_send(value).is_ok());
            tokio::task::coop::consume_budget().await;
        }
        0
    });
    drop(sender);
    crowd.task(receiver.fold(0, |sum, value| async move { sum + value }));
    sums(crowd, all_values(count)).await
}

/// Many send and many receive; `$send` and `$receive` are methods of the two ends.
macro_rules! many_to_many {
    ($($name:ident: $make:expr, $send:ident, $receive:ident;)*) => {$(
        async fn $name(mut crowd: Crowd, count: u64) -> Sums {
            let (sender, receiver) = $make;
            crowd.side(&sender, |sender, _| async move {
                for value in 1..=count {
                    assert!(sender.$send(value).await.is_ok());
                }
                0
            });
            drop(sender);
            crowd.side(&receiver, |receiver, _| async move {
                let mut sum = 0;
                while let Ok(value) = receiver.$receive().await {
                    sum += value;
                }
                sum
            });
            drop(receiver);
            sums(crowd, all_values(count)).await
        }
    )*};
}

many_to_many! {
    flume_bounded: flume::bounded(4), send_async, recv_async;
    flume_rendezvous: flume::bounded(0), send_async, recv_async;
    async_channel_bounded: async_channel::bounded(4), send, recv;
    async_channel_full: async_channel::bounded(1), send, recv;
    kanal_bounded: kanal::bounded_async(4), send, recv;
}

async fn async_broadcast_bounded(mut crowd: Crowd, count: u64) -> Sums {
    let (sender, receiver) = async_broadcast::broadcast(4);
    crowd.side(&receiver, |mut receiver, _| async move {
        let mut sum = 0;
        while let Ok(value) = receiver.recv().await {
            sum += value;
        }
        sum
    });
    drop(receiver);
    crowd.task(async move {
        for value in 1..=count {
            assert!(sender.broadcast(value).await.is_ok());
        }
        0
    });
    sums(crowd, all_values(count)).await
}

async fn sums(crowd: Crowd, must_be: u64) -> Sums {
    let is = crowd.sum().await;
    Sums { is, must_be }
}
