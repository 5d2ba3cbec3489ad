//! Programs that must run the same, watched or not: the same polls in the same order.
//!
//! Each runs on a runtime of one thread, whose clock stands until all wait, and chooses nothing
//! by chance: what happened is then a list that can be compared.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::watch::Watch;

mod combined;
mod ended;
mod tasks;
mod wakers;

/// What happens in a program, in the order in which it does.
#[derive(Clone)]
pub struct Course {
    watch: Watch,
    happened: Arc<Mutex<Vec<String>>>,
}

/// Runs `program`; what happened.
pub fn run<F: Future<Output = ()>>(program: fn(Course) -> F, watch: Watch) -> Vec<String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build();
    let course = Course {
        watch,
        happened: Arc::default(),
    };
    let runtime = runtime.expect("a runtime can be had");
    runtime.block_on(program(course.clone()));
    drop(runtime);
    std::mem::take(&mut *course.happened())
}

impl Course {
    /// Notes something that the program says.
    pub fn says(&self, what: impl ToString) {
        self.happened().push(what.to_string());
    }

    /// Spawns a task whose polls are noted, watched as the program is.
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        tokio::spawn(self.watch.over_root(self.noted(name, future)))
    }

    /// The same future, not yet spawned: a child of something that polls several.
    pub fn watched(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> crate::Boxed {
        self.watch.over(self.noted(name, future))
    }

    /// The same for a future of this thread.
    pub fn watched_local(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) -> crate::BoxedLocal {
        self.watch.over_local(self.noted(name, future))
    }

    fn noted<F: Future<Output = ()>>(&self, name: &'static str, future: F) -> Noted<F> {
        Noted {
            name,
            future: Box::pin(future),
            course: self.clone(),
        }
    }

    fn happened(&self) -> MutexGuard<'_, Vec<String>> {
        // Whoever panics while it notes something has noted it.
        self.happened
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A future whose polls, and end, are noted.
struct Noted<F> {
    name: &'static str,
    future: Pin<Box<F>>,
    course: Course,
}

impl<F: Future<Output = ()>> Future for Noted<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.course.watch.may_dump();
        let polled = self.future.as_mut().poll(context);
        let end = if polled.is_ready() { " is done" } else { "" };
        self.course.says(format!("{}{end}", self.name));
        polled
    }
}

impl<F> Drop for Noted<F> {
    fn drop(&mut self) {
        self.course.says(format!("{} is dropped", self.name));
    }
}

/// Names and programs, for a test of each.
#[macro_export]
macro_rules! alike_programs {
    ($each:ident) => {
        $each! {
            yields, locks_in_turn, channel_between_tasks, full_channel, budget, join_set,
            local_set, block_on, spawn_blocking, block_on_in_spawn_blocking, timeouts,
            broadcast_that_lags, watch_channel, other_channels, other_locks, barrier_rounds,
            futures_unordered, unordered_of_children, join_all_of_many, select_in_a_loop,
            select_over_the_same_future, shared, buffered_stream, abortable, join_of_watched,
            nested,
            pending_macro, woken_by_a_thread, woken_twice, wakes_itself, moved_between_tasks,
            waker_kept_after_the_end, dropped_in_its_own_wake, last_waker_drops_another_task,
            polled_without_being_woken,
            aborted, panics, panic_that_is_caught, dropped_in_the_midst_of_a_poll,
            dropped_while_it_waits, join_set_shut_down, local_set_dropped, never_polled,
            runtime_shut_down,
        }
    };
}

pub use combined::*;
pub use ended::*;
pub use tasks::*;
pub use wakers::*;
