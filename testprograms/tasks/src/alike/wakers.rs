//! What one may do with a waker.

// A clone that is woken is another call of the waker than a wake by reference.
#![allow(clippy::waker_clone_wake)]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::Course;

/// A place for the waker of whoever waits.
#[derive(Clone, Default)]
struct Place(Arc<Mutex<Option<Waker>>>);

impl Place {
    /// Puts the waker there and waits to be polled again.
    async fn wait(&self) {
        let mut is_there = false;
        poll_fn(|context| {
            if std::mem::replace(&mut is_there, true) {
                return Poll::Ready(());
            }
            *self.0.lock().expect("nobody panics") = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn take(&self) -> Option<Waker> {
        self.0.lock().expect("nobody panics").take()
    }
}

/// Lets all others run until they wait.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

/// Done at the second poll, whoever polls: one too many shows.
pub async fn pending_macro(course: Course) {
    let place = Place::default();
    let (within, noted) = (place.clone(), course.clone());
    let waits = course.spawn("waits", async move {
        for round in 0..3 {
            let wakes = poll_fn(|context| {
                *within.0.lock().expect("nobody panics") = Some(context.waker().clone());
                Poll::Ready(())
            });
            wakes.await;
            futures::pending!();
            noted.says(round);
        }
    });
    for round in 0..3 {
        settle().await;
        course.says(format!("wake {round}"));
        place.take().expect("it waits").wake();
    }
    assert!(waits.await.is_ok());
}

pub async fn woken_by_a_thread(course: Course) {
    let place = Place::default();
    let within = place.clone();
    let waits = course.spawn("waits", async move { within.wait().await });
    settle().await;
    let waker = place.take().expect("it waits");
    let clone = waker.clone();
    let thread = std::thread::spawn(move || {
        waker.wake_by_ref();
        drop(waker);
    });
    assert!(thread.join().is_ok());
    drop(clone);
    assert!(waits.await.is_ok());
}

/// Two wakes before it is polled are one poll.
pub async fn woken_twice(course: Course) {
    let place = Place::default();
    let within = place.clone();
    let waits = course.spawn("waits", async move {
        within.wait().await;
        within.wait().await;
    });
    for _ in 0..2 {
        settle().await;
        let waker = place.take().expect("it waits");
        waker.wake_by_ref();
        waker.clone().wake();
        waker.wake();
    }
    assert!(waits.await.is_ok());
}

/// In its own poll, with the waker as given, a clone, and a clone of a clone.
pub async fn wakes_itself(course: Course) {
    struct Wakes(u32);

    impl Future for Wakes {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let waker = context.waker();
            match self.0 {
                0 => return Poll::Ready(()),
                1 => waker.wake_by_ref(),
                2 => waker.clone().wake(),
                3 => waker.clone().clone().wake_by_ref(),
                _ => {
                    waker.wake_by_ref();
                    waker.clone().wake();
                }
            }
            self.0 -= 1;
            Poll::Pending
        }
    }

    let wakes = course.spawn("wakes", Wakes(6));
    let other = course.spawn("other", async {
        yield_now().await;
        yield_now().await;
    });
    assert!(wakes.await.and(other.await).is_ok());
}

/// Polled by one task first, and then by another, which is to be woken.
pub async fn moved_between_tasks(course: Course) {
    let (go, told) = oneshot::channel::<()>();
    let (give, given) = oneshot::channel();
    let mut moved = course.watched("moved", async move { assert!(told.await.is_ok()) });
    let first = course.spawn("first", async move {
        assert!(futures::poll!(&mut moved).is_pending());
        assert!(give.send(moved).is_ok());
    });
    let second = course.spawn("second", async move {
        given.await.expect("the first gives it").await;
    });
    settle().await;
    assert!(go.send(()).is_ok());
    assert!(first.await.and(second.await).is_ok());
}

pub async fn waker_kept_after_the_end(course: Course) {
    let kept = Place::default();
    let within = kept.clone();
    let ends = course.spawn(
        "ends",
        poll_fn(move |context| {
            *within.0.lock().expect("nobody panics") = Some(context.waker().clone());
            Poll::Ready(())
        }),
    );
    assert!(ends.await.is_ok());
    let waker = kept.take().expect("it was polled");
    waker.wake_by_ref();
    settle().await;
    waker.clone().wake();
    settle().await;
    let thread = std::thread::spawn(move || drop(waker));
    assert!(thread.join().is_ok());
}

/// Who wakes it drops it, too.
pub async fn dropped_in_its_own_wake(course: Course) {
    let place = Place::default();
    let within = place.clone();
    let mut waits = course.watched("waits", async move { within.wait().await });
    let outer = course.spawn("outer", async move {
        assert!(futures::poll!(&mut waits).is_pending());
        let waker = place.take().expect("it waits");
        waker.wake_by_ref();
        drop(waits);
        waker.wake();
        yield_now().await;
    });
    assert!(outer.await.is_ok());
}

/// An executor whose wakers alone keep a task: who replaces the last one drops the task, in the
/// midst of its own poll.
pub async fn last_waker_drops_another_task(course: Course) {
    struct Lonely(Mutex<Option<crate::Boxed>>);

    impl std::task::Wake for Lonely {
        fn wake(self: Arc<Self>) {}
    }

    let place = Place::default();
    let within = place.clone();
    let waits = course.watched("lonely", async move { within.wait().await });
    let lonely = Arc::new(Lonely(Mutex::new(Some(waits))));
    {
        let waker = Waker::from(lonely.clone());
        let mut context = Context::from_waker(&waker);
        let mut waits = lonely.0.lock().expect("nobody panics");
        let waits = waits.as_mut().expect("it is there");
        assert!(waits.as_mut().poll(&mut context).is_pending());
    }
    drop(lonely);
    let other = place.clone();
    let replaces = course.spawn("replaces", async move {
        // It takes the place of the one that is there.
        other.wait().await;
    });
    settle().await;
    course.says("it is dropped by now");
    place.take().expect("it waits").wake();
    assert!(replaces.await.is_ok());
}

/// As `select!` polls all when one is woken.
pub async fn polled_without_being_woken(course: Course) {
    let (_keep, told) = oneshot::channel::<()>();
    let inner = course.watched("inner", async move { drop(told.await) });
    let outer = course.spawn("outer", async move {
        let mut inner = inner;
        for _ in 0..4 {
            assert!(futures::poll!(&mut inner).is_pending());
            yield_now().await;
        }
    });
    assert!(outer.await.is_ok());
}
