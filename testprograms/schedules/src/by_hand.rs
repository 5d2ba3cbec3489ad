//! Programs on the executor and the channel that are made here.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::future::{Either, join, select};
use shuttle::thread;

use crate::channel::Channel;
use crate::executor::Executor;
use crate::{Course, locked};

/// Runs what was spawned to its end, which leaves nothing behind.
fn run(executor: &Arc<Executor>) {
    executor.run();
    assert_eq!(executor.wakers(), 0, "somebody keeps the executor's waker");
}

/// Two send to two, in room for one.
pub fn channel(course: &Course) {
    let executor = Executor::new(course);
    let (values, done) = (Channel::with_room_for(1), Channel::with_room_for(2));
    for name in ["sends", "sends, too"] {
        let (values, done) = (values.clone(), done.clone());
        executor.spawn(course.root(name, async move {
            values.send(1).await;
            values.send(2).await;
            done.send(1).await;
        }));
    }
    for name in ["receives", "receives, too"] {
        let (values, course_of_it) = (values.clone(), course.clone());
        executor.spawn(course.root(name, async move {
            while let Some(value) = values.receive().await {
                course_of_it.says(format!("{name} {value}"));
            }
        }));
    }
    executor.spawn(course.root("closes", async move {
        let sent = [done.receive().await, done.receive().await];
        assert_eq!(sent, [Some(1); 2]);
        values.close();
    }));
    run(&executor);
}

/// The branch that loses is dropped, perhaps while it is woken.
pub fn select_in_a_loop(course: &Course) {
    let executor = Executor::new(course);
    let (one, other) = (Channel::with_room_for(1), Channel::with_room_for(1));
    let (from_one, from_other, says) = (one.clone(), other.clone(), course.clone());
    executor.spawn(course.root("selects", async move {
        let mut sum = 0;
        while sum < 11 {
            let (one, other) = (from_one.receive(), from_other.receive());
            let (one, other) = (Box::pin(one), Box::pin(other));
            let value = match select(one, other).await {
                Either::Left((value, _)) | Either::Right((value, _)) => value,
            };
            sum += value.unwrap_or(0);
            says.says(sum);
        }
    }));
    executor.spawn(course.root("sends ones", async move { one.send(1).await }));
    executor.spawn(course.root("sends tens", async move { other.send(10).await }));
    run(&executor);
}

/// Polled by one task first and then by another, while whoever it waits for may wake either.
pub fn moved_between_tasks(course: &Course) {
    let executor = Executor::new(course);
    let (values, moves) = (Channel::with_room_for(1), Channel::with_room_for(1));
    let place = Arc::new(Mutex::new(None));
    let (from, says) = (values.clone(), course.clone());
    let mut moved = course.part("moved", async move {
        says.says(format!("{:?}", from.receive().await));
        says.says(format!("{:?}", from.receive().await));
    });
    let (give, tell) = (place.clone(), moves.clone());
    executor.spawn(course.root("first", async move {
        let is_done = poll_fn(|context| Poll::Ready(moved.as_mut().poll(context).is_ready())).await;
        if !is_done {
            *locked(&give) = Some(moved);
        }
        tell.send(1).await;
    }));
    executor.spawn(course.root("second", async move {
        moves.receive().await;
        let moved = locked(&place).take();
        if let Some(moved) = moved {
            moved.await;
        }
    }));
    executor.spawn(course.root("sends", async move {
        values.send(1).await;
        values.send(2).await;
    }));
    run(&executor);
}

/// Parts of one task, which is woken for either.
pub fn join_of_parts(course: &Course) {
    let executor = Executor::new(course);
    let (one, other) = (Channel::with_room_for(1), Channel::with_room_for(1));
    let (from_one, from_other) = (one.clone(), other.clone());
    let left = course.part("left", async move {
        from_one.receive().await;
    });
    let right = course.part("right", async move {
        from_other.receive().await;
        from_other.receive().await;
    });
    executor.spawn(course.root("joins", async move {
        join(left, right).await;
    }));
    executor.spawn(course.root("sends to right", async move {
        other.send(1).await;
        other.send(2).await;
    }));
    executor.spawn(course.root("sends to left", async move { one.send(1).await }));
    run(&executor);
}

/// A place for wakers of whoever waits, and whether it is to go on.
#[derive(Clone, Default)]
struct Place(Arc<shuttle::sync::Mutex<(Vec<Waker>, bool)>>);

impl Place {
    fn locked(&self) -> shuttle::sync::MutexGuard<'_, (Vec<Waker>, bool)> {
        self.0.lock().expect("nobody panics")
    }

    fn take(&self) -> Option<Waker> {
        self.locked().0.pop()
    }

    /// Waits until it is told to go on, however often it is woken.
    async fn wait(&self) {
        poll_fn(|context| {
            let mut place = self.locked();
            if place.1 {
                return Poll::Ready(());
            }
            place.0.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Who waits is polled twice and dropped, while others clone, wake and drop its wakers.
pub fn dropped_while_it_is_woken(course: &Course) {
    let executor = Executor::new(course);
    let place = Place::default();
    let within = place.clone();
    let mut part = course.part("part", async move { within.wait().await });
    let says = course.clone();
    executor.spawn(course.root("drops", async move {
        for _ in 0..2 {
            poll_fn(|context| Poll::Ready(part.as_mut().poll(context).is_ready())).await;
            thread::yield_now();
        }
        drop(part);
        says.says("it is dropped");
        thread::yield_now();
    }));
    let (wakes, says) = (place.clone(), course.clone());
    let wakes = thread::spawn(move || {
        for _ in 0..3 {
            if let Some(waker) = wakes.take() {
                waker.wake_by_ref();
                let clone = waker.clone();
                drop(waker);
                says.says("it is woken");
                clone.wake();
            }
            thread::yield_now();
        }
    });
    executor.run();
    assert!(wakes.join().is_ok());
    drop(place);
    assert_eq!(executor.wakers(), 0, "somebody keeps the executor's waker");
}

/// Threads that wake for nothing, and one that does once there is something.
pub fn woken_by_threads(course: &Course) {
    let executor = Executor::new(course);
    let place = Place::default();
    let within = place.clone();
    executor.spawn(course.root("waits", async move { within.wait().await }));
    let threads = ["for nothing", "for nothing, too", "to go on"].map(|name| {
        let (place, says) = (place.clone(), course.clone());
        thread::spawn(move || {
            place.locked().1 |= name == "to go on";
            let taken = std::mem::take(&mut place.locked().0);
            for waker in taken {
                says.says(format!("woken {name}"));
                waker.clone().wake();
                waker.wake_by_ref();
            }
        })
    });
    executor.run();
    for thread in threads {
        assert!(thread.join().is_ok());
    }
    drop(place);
    assert_eq!(executor.wakers(), 0, "somebody keeps the executor's waker");
}

/// Wakes itself in its poll, by the waker that it is lent and by clones.
pub fn yields(course: &Course) {
    struct Wakes(u32);

    impl Future for Wakes {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let waker = context.waker();
            match self.0 {
                0 => return Poll::Ready(()),
                1 => waker.wake_by_ref(),
                2 => waker.clone().wake(),
                _ => {
                    waker.clone().clone().wake();
                    waker.wake_by_ref();
                }
            }
            self.0 -= 1;
            Poll::Pending
        }
    }

    let executor = Executor::new(course);
    executor.spawn(course.root("one", Wakes(3)));
    executor.spawn(course.root("other", Wakes(3)));
    let part = course.part("part", Wakes(2));
    executor.spawn(course.root("third", async move {
        part.await;
    }));
    run(&executor);
}
