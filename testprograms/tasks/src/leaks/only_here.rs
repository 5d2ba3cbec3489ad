//! Leaks that only async Rust has.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use futures::stream::{self, StreamExt};
use futures::task::AtomicWaker;
use tokio::sync::{mpsc, oneshot};

use super::{Is, Scope, shapes};

shapes!(
    waker_not_registered: "",
    waker_overwritten: "",
    wakers_cleared: "",
    pending_for_ever: "",
    owns_its_own_sender: "",
    actor_owns_its_own_handle: "",
    oneshot_to_itself: "",
    buffered_future_not_polled: "",
    place_in_the_queue_not_polled: "",
    joins_one_that_leaks: "",
);

/// A future by hand that returns without a word to whoever would wake it.
fn waker_not_registered(scope: &Scope, is: Is) {
    let place = Arc::new(Mutex::new((false, None::<Waker>)));
    let (sets, gate) = (place.clone(), scope.gate());
    scope.task(poll_fn(move |context| {
        let mut place = place.lock().expect("nobody panics");
        if place.0 {
            return Poll::Ready(());
        }
        if !is.leaky() {
            place.1 = Some(context.waker().clone());
        }
        Poll::Pending
    }));
    scope.task(async move {
        gate.opened().await;
        let mut place = sets.lock().expect("nobody panics");
        place.0 = true;
        place.1.take().into_iter().for_each(Waker::wake);
    });
}

/// Two wait in a place for one.
fn waker_overwritten(scope: &Scope, is: Is) {
    let places = [Arc::new(AtomicWaker::new()), Arc::new(AtomicWaker::new())];
    let open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for index in 0..2 {
        let place = places[if is.leaky() { 0 } else { index }].clone();
        let open = open.clone();
        scope.task(poll_fn(move |context| {
            place.register(context.waker());
            if open.load(std::sync::atomic::Ordering::SeqCst) {
                return Poll::Ready(());
            }
            Poll::Pending
        }));
    }
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        open.store(true, std::sync::atomic::Ordering::SeqCst);
        places.iter().for_each(|place| place.wake());
    });
}

/// A bus that forgets its listeners where it should have told them.
fn wakers_cleared(scope: &Scope, is: Is) {
    let listeners = Arc::new(Mutex::new(Some(Vec::<Waker>::new())));
    let (bus, gate) = (listeners.clone(), scope.gate());
    scope.task(poll_fn(move |context| {
        match &mut *listeners.lock().expect("nobody panics") {
            Some(listeners) => listeners.push(context.waker().clone()),
            None => return Poll::Ready(()),
        }
        Poll::Pending
    }));
    scope.task(async move {
        gate.opened().await;
        let told = bus.lock().expect("nobody panics").take();
        if !is.leaky() {
            told.into_iter().flatten().for_each(Waker::wake);
        }
    });
}

/// Nothing else is left of what it waited for.
fn pending_for_ever(scope: &Scope, is: Is) {
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        if is.leaky() {
            pending::<()>().await;
        }
    });
}

fn owns_its_own_sender(scope: &Scope, is: Is) {
    let (sender, mut receiver) = mpsc::channel(1);
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        assert!(sender.send(()).await.is_ok());
        let kept = is.leaky().then_some(sender);
        while receiver.recv().await.is_some() {}
        drop(kept);
    });
}

/// The handle that it gives to others, and holds as well.
fn actor_owns_its_own_handle(scope: &Scope, is: Is) {
    struct Actor {
        requests: async_channel::Receiver<u32>,
        to_itself: Option<async_channel::Sender<u32>>,
    }

    let (handle, requests) = async_channel::bounded(4);
    let to_itself = is.leaky().then(|| handle.clone());
    let actor = Arc::new(Actor {
        requests,
        to_itself,
    });
    scope.task(async move {
        while let Ok(count) = actor.requests.recv().await {
            if let Some(itself) = actor.to_itself.as_ref().filter(|_| count > 0) {
                assert!(itself.send(count - 1).await.is_ok());
            }
        }
    });
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        assert!(handle.send(2).await.is_ok());
    });
}

fn oneshot_to_itself(scope: &Scope, is: Is) {
    let gate = scope.gate();
    scope.task(async move {
        let (sender, receiver) = oneshot::channel::<()>();
        gate.opened().await;
        let kept = is.leaky().then_some(sender);
        drop(receiver.await);
        drop(kept);
    });
}

/// A future in a buffer has the permit; nobody polls it while the body of the loop runs.
fn buffered_future_not_polled(scope: &Scope, is: Is) {
    let permits = Arc::new(tokio::sync::Semaphore::new(1));
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        let jobs = stream::iter(0..3).map(|_| async {
            let _permit = permits.acquire().await;
            tokio::task::yield_now().await;
        });
        if is.leaky() {
            let mut jobs = pin!(jobs.buffer_unordered(2));
            while jobs.next().await.is_some() {
                drop(permits.acquire().await);
            }
        } else {
            jobs.buffer_unordered(2).for_each(|()| async {}).await;
            drop(permits.acquire().await);
        }
    });
}

/// Next for a lock, by a future that nobody polls any more, and in the queue behind itself.
fn place_in_the_queue_not_polled(scope: &Scope, is: Is) {
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    let (holds, release, gate) = (lock.clone(), scope.gate(), scope.gate());
    scope.task(async move {
        let held = holds.lock().await;
        release.opened().await;
        // The other has given its place up by then.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        drop(held);
    });
    scope.task(async move {
        tokio::task::yield_now().await;
        let mut first = Box::pin(lock.lock());
        tokio::select! {
            biased;
            held = &mut first => drop(held),
            () = gate.opened() => {}
        }
        if !is.leaky() {
            drop(first);
            drop(lock.lock().await);
        } else {
            drop(lock.lock().await);
            drop(first);
        }
    });
}

/// Healthy itself, were it not for whom it waits for.
fn joins_one_that_leaks(scope: &Scope, is: Is) {
    let gate = scope.gate();
    scope.task(async move {
        gate.opened().await;
        let joined = tokio::spawn(async move {
            if is.leaky() {
                pending::<()>().await;
            }
        });
        assert!(joined.await.is_ok());
    });
}
