//! Programs on shuttle's own executor: its semaphore, its handles, its `yield_now`, and channels
//! of the `futures` crate, whose every operation is one step here.

use std::sync::Arc;

use futures::channel::{mpsc, oneshot};
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};
use shuttle::future::{block_on, spawn, yield_now};

use crate::Course;

/// Three for one permit.
pub fn semaphore(course: &Course) {
    let permits = Arc::new(BatchSemaphore::new(1, Fairness::StrictlyFair));
    let tasks = ["one", "other", "third"].map(|name| {
        let (permits, says) = (permits.clone(), course.clone());
        spawn(course.root(name, async move {
            for _ in 0..2 {
                assert!(permits.acquire(1).await.is_ok());
                says.says(format!("{name} has it"));
                yield_now().await;
                permits.release(1);
            }
        }))
    });
    block_on(course.root("joins", async move {
        for task in tasks {
            assert!(task.await.is_ok());
        }
    }));
}

/// A queue in room for one, and an answer to each that is sent.
pub fn channels(course: &Course) {
    let (ask, mut asked) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(0);
    let tasks = ["one", "other"].map(|name| {
        let (mut ask, says) = (ask.clone(), course.clone());
        spawn(course.root(name, async move {
            for number in 0..2 {
                let (answer, answered) = oneshot::channel();
                assert!(ask.send((number, answer)).await.is_ok());
                yield_now().await;
                says.says(format!("{name} {:?}", answered.await));
            }
        }))
    });
    drop(ask);
    let answers = spawn(course.root("answers", async move {
        while let Some((number, answer)) = asked.next().await {
            yield_now().await;
            assert!(answer.send(number + 1).is_ok());
        }
    }));
    block_on(course.root("joins", async move {
        for task in tasks {
            assert!(task.await.is_ok());
        }
        assert!(answers.await.is_ok());
    }));
}

/// Children with wakers of their own, which a set wakes its task for.
pub fn unordered(course: &Course) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel::<()>()).unzip();
    let within = course.clone();
    let all = spawn(course.root("all", async move {
        let children = receivers.into_iter().map(|receiver| {
            within.part("child", async move {
                assert!(receiver.await.is_ok());
                yield_now().await;
            })
        });
        let mut set: FuturesUnordered<_> = children.collect();
        while let Some(()) = set.next().await {
            within.says("one is done");
        }
    }));
    for sender in senders {
        spawn(course.root("sends", async move {
            yield_now().await;
            assert!(sender.send(()).is_ok());
        }));
    }
    assert!(block_on(all).is_ok());
}

/// Aborted while it waits, is woken, is polled, or after all that.
pub fn aborted(course: &Course) {
    let (sender, receiver) = oneshot::channel::<()>();
    let permits = Arc::new(BatchSemaphore::new(0, Fairness::Unfair));
    let within = permits.clone();
    let waits = spawn(course.root("waits", async move {
        let part = async move {
            // Either will do: whoever sends may be gone.
            let _ = receiver.await;
        };
        part.await;
        assert!(within.acquire(1).await.is_ok());
    }));
    let sends = spawn(course.root("sends", async move {
        // Nobody hears it, if it was aborted.
        let _ = sender.send(());
        yield_now().await;
        permits.release(1);
    }));
    let handle = waits.abort_handle();
    let aborts = spawn(course.root("aborts", async move {
        yield_now().await;
        handle.abort();
    }));
    let says = course.clone();
    block_on(course.root("joins", async move {
        says.says(waits.await.is_ok());
        assert!(sends.await.is_ok() && aborts.await.is_ok());
    }));
}
