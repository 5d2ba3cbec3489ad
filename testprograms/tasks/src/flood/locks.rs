//! Locks, limits and meetings: everybody gets in as often as they want.

use std::sync::atomic::{AtomicU64, Ordering};

use event_listener::Event;
use tokio::sync::{Barrier, Notify, Semaphore};
use tokio::task::yield_now;

use super::{Crowd, SIDE, Sums, common, floods};

floods!(
    tokio_mutex,
    tokio_rwlock,
    tokio_semaphore,
    tokio_notify,
    tokio_barrier,
    futures_mutex,
    async_lock_mutex,
    async_lock_rwlock,
    async_lock_semaphore,
    async_lock_barrier,
    events,
);

/// A number that each task adds to under its lock, holding it across an await at times.
macro_rules! counted_under {
    ($($name:ident: $make:expr, $lock:ident;)*) => {$(
        async fn $name(mut crowd: Crowd, count: u64) -> Sums {
            let number = common($make(0));
            crowd.side(&number, |number, index| async move {
                for round in 0..count {
                    let mut held = number.$lock().await;
                    let seen = *held;
                    if round % 8 == index {
                        yield_now().await;
                    }
                    *held = seen + 1;
                }
                0
            });
            assert_eq!(crowd.sum().await, 0);
            let is = *number.$lock().await;
            Sums { is, must_be: SIDE * count }
        }
    )*};
}

counted_under! {
    tokio_mutex: tokio::sync::Mutex::new, lock;
    futures_mutex: futures::lock::Mutex::new, lock;
    async_lock_mutex: async_lock::Mutex::new, lock;
}

/// Reads between writes.
macro_rules! read_and_written {
    ($($name:ident: $make:expr;)*) => {$(
        async fn $name(mut crowd: Crowd, count: u64) -> Sums {
            let number = common($make(0));
            crowd.side(&number, |number, index| async move {
                let mut read = 0;
                for round in 0..count {
                    if round % SIDE == index {
                        *number.write().await += 1;
                    } else {
                        let held = number.read().await;
                        if round % 8 == 0 {
                            yield_now().await;
                        }
                        read += u64::from(*held <= SIDE * count);
                    }
                }
                read
            });
            let read = crowd.sum().await;
            let is = read + *number.read().await;
            Sums { is, must_be: SIDE * count }
        }
    )*};
}

read_and_written! {
    tokio_rwlock: tokio::sync::RwLock::new;
    async_lock_rwlock: async_lock::RwLock::new;
}

async fn tokio_semaphore(mut crowd: Crowd, count: u64) -> Sums {
    let semaphore = common(Semaphore::new(3));
    crowd.side(&semaphore, |semaphore, index| async move {
        let wanted = u32::try_from(index % 3 + 1).expect("it is three at most");
        for _ in 0..count {
            let permit = semaphore.acquire_many(wanted).await;
            yield_now().await;
            drop(permit.expect("nobody closes it"));
        }
        count
    });
    let is = crowd.sum().await + semaphore.available_permits() as u64;
    Sums {
        is,
        must_be: SIDE * count + 3,
    }
}

async fn async_lock_semaphore(mut crowd: Crowd, count: u64) -> Sums {
    let semaphore = common(async_lock::Semaphore::new(2));
    crowd.side(&semaphore, |semaphore, _| async move {
        for _ in 0..count {
            let _permit = semaphore.acquire().await;
            yield_now().await;
        }
        count
    });
    let is = crowd.sum().await;
    Sums {
        is,
        must_be: SIDE * count,
    }
}

/// Pairs that wake one another in turn.
async fn tokio_notify(mut crowd: Crowd, count: u64) -> Sums {
    for _ in 0..SIDE {
        let pair = common([Notify::new(), Notify::new()]);
        for side in [0, 1] {
            let pair = pair.clone();
            crowd.task(async move {
                for _ in 0..count {
                    if side == 0 {
                        pair[1].notify_one();
                        pair[0].notified().await;
                    } else {
                        pair[1].notified().await;
                        pair[0].notify_one();
                    }
                }
                count
            });
        }
    }
    let is = crowd.sum().await;
    Sums {
        is,
        must_be: 2 * SIDE * count,
    }
}

async fn tokio_barrier(mut crowd: Crowd, count: u64) -> Sums {
    let barrier = common(Barrier::new(4));
    crowd.side(&barrier, |barrier, _| async move {
        let mut led = 0;
        for _ in 0..count {
            led += u64::from(barrier.wait().await.is_leader());
        }
        led
    });
    let is = crowd.sum().await;
    Sums { is, must_be: count }
}

async fn async_lock_barrier(mut crowd: Crowd, count: u64) -> Sums {
    let barrier = common(async_lock::Barrier::new(4));
    crowd.side(&barrier, |barrier, _| async move {
        let mut led = 0;
        for _ in 0..count {
            led += u64::from(barrier.wait().await.is_leader());
        }
        led
    });
    let is = crowd.sum().await;
    Sums { is, must_be: count }
}

/// Tokens that are taken one by one, as users of event-listener write it.
async fn events(mut crowd: Crowd, count: u64) -> Sums {
    let tokens = common((AtomicU64::new(0), Event::<()>::new()));
    crowd.side(&tokens, |tokens, _| async move {
        for _ in 0..count {
            tokens.0.fetch_add(1, Ordering::SeqCst);
            tokens.1.notify_additional(1);
            tokio::task::coop::consume_budget().await;
        }
        0
    });
    let take = |tokens: &AtomicU64| {
        let less = |left: u64| left.checked_sub(1);
        tokens
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    };
    crowd.side(&tokens, move |tokens, _| async move {
        let mut taken = 0;
        while taken < count {
            if take(&tokens.0) {
                taken += 1;
                continue;
            }
            let listener = tokens.1.listen();
            if take(&tokens.0) {
                taken += 1;
            } else {
                listener.await;
            }
        }
        taken
    });
    let is = crowd.sum().await;
    Sums {
        is,
        must_be: SIDE * count,
    }
}
