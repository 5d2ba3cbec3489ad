//! Tasks of tokio, and what they exchange.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Barrier, Mutex, broadcast, mpsc, watch};
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::{sleep, timeout};

use super::Course;

const MOMENT: Duration = Duration::from_millis(10);

pub async fn yields(course: Course) {
    let one = course.spawn("one", async {
        for _ in 0..5 {
            yield_now().await;
        }
    });
    let other = course.spawn("other", async {
        for _ in 0..3 {
            yield_now().await;
        }
    });
    assert!(one.await.and(other.await).is_ok());
}

pub async fn locks_in_turn(course: Course) {
    let lock = Arc::new(Mutex::new(0));
    let mut set = JoinSet::new();
    for name in ["a", "b", "c", "d"] {
        let (lock, inner) = (lock.clone(), course.clone());
        set.spawn(course.watched(name, async move {
            for _ in 0..4 {
                let mut held = lock.lock().await;
                *held += 1;
                inner.says(*held);
                yield_now().await;
            }
        }));
    }
    while set.join_next().await.is_some() {}
}

pub async fn channel_between_tasks(course: Course) {
    let (sender, mut receiver) = mpsc::channel(4);
    let sends = course.spawn("sends", async move {
        for number in 0..20 {
            assert!(sender.send(number).await.is_ok());
        }
    });
    let told = course.clone();
    let receives = course.spawn("receives", async move {
        while let Some(number) = receiver.recv().await {
            told.says(number);
        }
    });
    assert!(sends.await.and(receives.await).is_ok());
}

pub async fn full_channel(course: Course) {
    let (sender, mut receiver) = mpsc::channel(1);
    for name in ["a", "b", "c"] {
        let sender = sender.clone();
        course.spawn(name, async move {
            for _ in 0..3 {
                assert!(sender.send(name).await.is_ok());
            }
        });
    }
    drop(sender);
    while let Some(name) = receiver.recv().await {
        course.says(format!("from {name}"));
        sleep(MOMENT).await;
    }
}

/// Tokio takes a task off that always has something to receive.
pub async fn budget(course: Course) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    for number in 0..1_000 {
        assert!(sender.send(number).is_ok());
    }
    drop(sender);
    let receives = course.spawn("receives", async move {
        while receiver.recv().await.is_some() {}
    });
    let other = course.spawn("other", yield_now());
    assert!(receives.await.and(other.await).is_ok());
}

pub async fn join_set(course: Course) {
    let mut set = JoinSet::new();
    for (name, moments) in [("third", 3), ("first", 1), ("second", 2)] {
        set.spawn(course.watched(name, sleep(MOMENT * moments)));
    }
    let noted = course.clone();
    let joins = course.watched("joins", async move {
        while set.join_next().await.is_some() {
            noted.says("one is joined");
        }
    });
    joins.await;
}

pub async fn local_set(course: Course) {
    let set = LocalSet::new();
    let (sender, mut receiver) = mpsc::channel(1);
    let kept = std::rc::Rc::new(1);
    set.spawn_local(course.watched_local("local", async move {
        for number in 0..4 {
            assert!(sender.send(number + *kept).await.is_ok());
        }
    }));
    let told = course.clone();
    let receives = course.watched_local("receives", async move {
        while let Some(number) = receiver.recv().await {
            told.says(number);
        }
    });
    set.run_until(receives).await;
    set.await;
}

/// Another executor within a task of this one.
pub async fn block_on(course: Course) {
    let within = course.clone();
    let outer = course.spawn("outer", async move {
        let inner = within.watched("inner", async {
            for _ in 0..3 {
                wake_and_wait().await;
            }
        });
        futures::executor::block_on(inner);
    });
    assert!(outer.await.is_ok());
}

async fn wake_and_wait() {
    let mut is_woken = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_woken, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

pub async fn spawn_blocking(course: Course) {
    let noted = course.clone();
    let asks = course.spawn("asks", async move {
        let (tell, told) = std::sync::mpsc::channel();
        let blocking = tokio::task::spawn_blocking(move || told.recv());
        // Not told before it has been asked in vain.
        let (answer, ()) = futures::join!(blocking, async move { assert!(tell.send(7).is_ok()) });
        noted.says(format!("{answer:?}"));
    });
    assert!(asks.await.is_ok());
}

/// A future of a blocking thread's, which blocks on it: how often it is polled there.
pub async fn block_on_in_spawn_blocking(course: Course) {
    let (watch, noted) = (course.watch, course.clone());
    let asks = course.spawn("asks", async move {
        let (tell, told) = std::sync::mpsc::channel();
        let blocking = tokio::task::spawn_blocking(move || {
            let polls = Arc::new(AtomicU32::new(0));
            let counted = polls.clone();
            let mut waits = Box::pin(async {
                for _ in 0..3 {
                    wake_and_wait().await;
                }
            });
            let inner = poll_fn(move |context| {
                counted.fetch_add(1, Ordering::Relaxed);
                watch.may_dump();
                Future::poll(waits.as_mut(), context)
            });
            let told = told.recv();
            tokio::runtime::Handle::current().block_on(watch.over(inner));
            (told, polls.load(Ordering::Relaxed))
        });
        // Not told before it has been asked in vain.
        let (answer, ()) = futures::join!(blocking, async move { assert!(tell.send(7).is_ok()) });
        noted.says(format!("{answer:?}"));
    });
    assert!(asks.await.is_ok());
}

pub async fn timeouts(course: Course) {
    let (sender, mut receiver) = mpsc::channel::<()>(1);
    let noted = course.clone();
    let waits = course.spawn("waits", async move {
        for _ in 0..3 {
            let received = timeout(MOMENT, receiver.recv()).await;
            noted.says(format!("{received:?}"));
        }
    });
    sleep(MOMENT * 3 / 2).await;
    assert!(sender.send(()).await.is_ok());
    assert!(waits.await.is_ok());
}

pub async fn broadcast_that_lags(course: Course) {
    let (sender, _) = broadcast::channel(2);
    let mut set = JoinSet::new();
    for name in ["one", "other"] {
        let (mut receiver, noted) = (sender.subscribe(), course.clone());
        set.spawn(course.watched(name, async move {
            loop {
                let received = receiver.recv().await;
                noted.says(format!("{name} has {received:?}"));
                if received == Err(broadcast::error::RecvError::Closed) {
                    break;
                }
            }
        }));
    }
    for number in 0..10 {
        assert!(sender.send(number).is_ok());
        if number % 4 == 0 {
            sleep(MOMENT).await;
        }
    }
    drop(sender);
    while set.join_next().await.is_some() {}
}

pub async fn watch_channel(course: Course) {
    let (sender, mut receiver) = watch::channel(0);
    let noted = course.clone();
    let looks = course.spawn("looks", async move {
        while receiver.changed().await.is_ok() {
            noted.says(*receiver.borrow_and_update());
        }
    });
    for number in 1..5 {
        assert!(sender.send(number).is_ok());
        yield_now().await;
    }
    drop(sender);
    assert!(looks.await.is_ok());
}

pub async fn other_channels(course: Course) {
    let (one, from_one) = async_channel::bounded(1);
    let (other, from_other) = flume::bounded(1);
    let (third, from_third) = kanal::bounded_async(1);
    course.spawn("first", async move {
        for number in 0..6 {
            assert!(one.send(number).await.is_ok());
        }
    });
    course.spawn("second", async move {
        while let Ok(number) = from_one.recv().await {
            assert!(other.send_async(number).await.is_ok());
        }
    });
    course.spawn("third", async move {
        while let Ok(number) = from_other.recv_async().await {
            assert!(third.send(number).await.is_ok());
        }
    });
    while let Ok(number) = from_third.recv().await {
        course.says(number);
    }
}

pub async fn other_locks(course: Course) {
    let lock = Arc::new(async_lock::Mutex::new(()));
    let limit = Arc::new(async_lock::Semaphore::new(2));
    let shared = Arc::new(futures::lock::Mutex::new(0));
    let mut set = JoinSet::new();
    for name in ["a", "b", "c", "d"] {
        let (lock, limit, shared) = (lock.clone(), limit.clone(), shared.clone());
        set.spawn(course.watched(name, async move {
            for _ in 0..3 {
                let _permit = limit.acquire().await;
                yield_now().await;
                let _held = lock.lock().await;
                yield_now().await;
                *shared.lock().await += 1;
            }
        }));
    }
    while set.join_next().await.is_some() {}
    course.says(*shared.lock().await);
}

/// Of two: whom tokio's barrier wakes first among several is chance.
pub async fn barrier_rounds(course: Course) {
    let barrier = Arc::new(Barrier::new(2));
    let mut set = JoinSet::new();
    for name in ["a", "b"] {
        let (barrier, noted) = (barrier.clone(), course.clone());
        set.spawn(course.watched(name, async move {
            for _ in 0..3 {
                noted.says(barrier.wait().await.is_leader());
            }
        }));
    }
    while set.join_next().await.is_some() {}
}
