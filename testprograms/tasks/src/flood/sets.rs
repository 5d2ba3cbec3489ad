//! Many futures in one task, and many tasks in one set.

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};

use super::{Crowd, SIDE, Sums, floods};

floods!(futures_unordered, join_set, select_of_two, buffer_unordered,);

/// Children that are told by another task, in another order than they came.
async fn futures_unordered(mut crowd: Crowd, count: u64) -> Sums {
    for _ in 0..SIDE {
        let (give, mut given) = mpsc::channel::<oneshot::Sender<u64>>(64);
        crowd.task(async move {
            let mut kept = Vec::new();
            while let Some(sender) = given.recv().await {
                kept.push(sender);
                if kept.len() == 8 {
                    while let Some(sender) = kept.pop() {
                        assert!(sender.send(1).is_ok());
                    }
                }
            }
            kept.into_iter()
                .filter_map(|sender| sender.send(1).err())
                .sum()
        });
        crowd.task(async move {
            let (mut set, mut sum) = (FuturesUnordered::new(), 0);
            for _ in 0..count {
                let (sender, receiver) = oneshot::channel();
                set.push(receiver);
                assert!(give.send(sender).await.is_ok());
                if set.len() > 16 {
                    sum += set.next().await.expect("it is not empty").unwrap_or(0);
                }
            }
            drop(give);
            while let Some(value) = set.next().await {
                sum += value.unwrap_or(0);
            }
            sum
        });
    }
    let is = crowd.sum().await;
    Sums {
        is,
        must_be: SIDE * count,
    }
}

async fn join_set(mut crowd: Crowd, count: u64) -> Sums {
    for _ in 0..SIDE {
        crowd.task(async move {
            let (mut set, mut sum) = (JoinSet::new(), 0);
            for index in 0..count {
                set.spawn(async move {
                    if index % 3 == 0 {
                        yield_now().await;
                    }
                    1
                });
                if set.len() > 32 {
                    sum += set.join_next().await.expect("it is not empty").unwrap_or(0);
                }
            }
            while let Some(value) = set.join_next().await {
                sum += value.unwrap_or(0);
            }
            sum
        });
    }
    let is = crowd.sum().await;
    Sums {
        is,
        must_be: SIDE * count,
    }
}

/// Two channels at once; what is not chosen is dropped and made anew.
async fn select_of_two(mut crowd: Crowd, count: u64) -> Sums {
    for _ in 0..SIDE {
        let (one, mut from_one) = mpsc::channel(1);
        let (other, from_other) = async_channel::bounded(1);
        crowd.task(async move {
            for value in 1..=count {
                assert!(one.send(value).await.is_ok());
            }
            0
        });
        crowd.task(async move {
            for value in 1..=count {
                assert!(other.send(value).await.is_ok());
            }
            0
        });
        crowd.task(async move {
            let mut sum = 0;
            let (mut one_is_open, mut other_is_open) = (true, true);
            while one_is_open || other_is_open {
                tokio::select! {
                    value = from_one.recv(), if one_is_open => match value {
                        Some(value) => sum += value,
                        None => one_is_open = false,
                    },
                    value = from_other.recv(), if other_is_open => match value {
                        Ok(value) => sum += value,
                        Err(_) => other_is_open = false,
                    },
                }
            }
            sum
        });
    }
    let is = crowd.sum().await;
    Sums {
        is,
        must_be: SIDE * count * (count + 1),
    }
}

async fn buffer_unordered(mut crowd: Crowd, count: u64) -> Sums {
    for _ in 0..SIDE {
        crowd.task(async move {
            let futures = futures::stream::iter(0..count).map(|index| async move {
                if index % 2 == 0 {
                    yield_now().await;
                }
                1
            });
            futures
                .buffer_unordered(8)
                .fold(0, |sum, one| async move { sum + one })
                .await
        });
    }
    let is = crowd.sum().await;
    Sums {
        is,
        must_be: SIDE * count,
    }
}
