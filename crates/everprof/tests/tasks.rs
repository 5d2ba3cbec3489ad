//! What watched tasks await, as their records and the profile `tasks` tell it.

#![allow(clippy::unwrap_used)]

mod by_hand;

use std::future::{Future, pending, poll_fn};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use by_hand::{Kept, Task};
use everprof::Watch;
use everprof::tasks::{Leak, TaskRecord, TaskState};

/// What is shown is all of the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// The only task that there is.
fn only() -> TaskRecord {
    let mut all = everprof::tasks::records();
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

/// The text with a paragraph a task.
fn paragraphs() -> String {
    let profile = everprof::profile::lookup("tasks").unwrap();
    let mut text = Vec::new();
    profile.write_text(&mut text, 2).unwrap();
    String::from_utf8(text).unwrap()
}

#[inline(never)]
async fn waits_for_a_letter(kept: &Kept) {
    kept.wait().await;
}

#[inline(never)]
async fn reads_the_post(kept: Kept) {
    waits_for_a_letter(&kept).await;
}

#[test]
fn task_passes_through_its_states() {
    let _alone = alone();
    let kept = Kept::new();
    let mut task = Task::new(reads_the_post(kept.clone()).watched());
    let record = only();
    assert_eq!(record.state, TaskState::NotPolledYet);
    assert!(record.stacks.is_empty() && !record.created_by.is_empty());
    assert!(record.name.ends_with("reads_the_post"), "{}", record.name);
    assert!(task.poll().is_pending());
    let waiting = only();
    assert_eq!((waiting.state, waiting.id), (TaskState::Waiting, record.id));
    assert_eq!(waiting.stacks.len(), 1);
    assert_eq!(waiting.wakers, Some(1));
    assert_eq!(waiting.leak, Leak::No);
    kept.wake();
    assert_eq!(only().state, TaskState::Woken);
    assert!(task.poll().is_ready());
    assert!(everprof::tasks::records().is_empty(), "done is done");
    drop(task);
    assert_eq!(task_wakes(), 1);
}

fn task_wakes() -> usize {
    by_hand::wakes()
}

#[test]
fn await_stack_has_the_functions_that_await_leaf_first_and_then_the_maker() {
    let _alone = alone();
    let kept = Kept::new();
    let mut task = Task::new(reads_the_post(kept.clone()).watched());
    assert!(task.poll().is_pending());
    let text = paragraphs();
    let at = |name: &str| {
        text.find(name)
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
    };
    assert!(text.starts_with("task "), "{text}");
    assert!(at("[waiting ") < at("waits_for_a_letter"), "{text}");
    assert!(
        at("waits_for_a_letter") < text.rfind("reads_the_post").unwrap(),
        "{text}"
    );
    assert!(
        at("created by tasks::await_stack_has") > text.rfind("reads_the_post").unwrap(),
        "{text}"
    );
    assert!(!text.contains("everprof_core"), "{text}");
    assert!(!text.contains("Waker"), "not of its clone: {text}");
    assert!(
        !text.contains("by_hand::Task"),
        "not of the executor: {text}"
    );
}

#[test]
fn running_task_is_told_with_its_thread() {
    let _alone = alone();
    let mut task = Task::new(poll_fn(|_| Poll::Ready(only())).watched());
    let Poll::Ready(record) = task.poll() else {
        panic!("ready at once")
    };
    let TaskState::Running { thread } = record.state else {
        panic!("{record:?}")
    };
    assert!(thread != 0 && record.stacks.is_empty());
}

#[test]
fn future_that_wakes_itself_yields() {
    let _alone = alone();
    let mut polls = 0;
    let mut task = Task::new(
        poll_fn(move |context: &mut Context<'_>| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .watched(),
    );
    assert!(task.poll().is_pending());
    let record = only();
    assert_eq!(record.state, TaskState::Yielding);
    assert_eq!((record.leak, record.stacks.len()), (Leak::No, 1));
    assert_eq!(task.wakes(), 1);
    assert!(task.poll().is_ready());
}

#[test]
fn task_yields_where_a_part_of_it_does() {
    let _alone = alone();
    let yields = poll_fn(|context: &mut Context<'_>| {
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    let mut task = Task::new(async move { yields.watched().await }.watched());
    assert!(task.poll().is_pending());
    let states: Vec<_> = everprof::tasks::records()
        .into_iter()
        .map(|record| (record.parent.is_none(), record.state))
        .collect();
    let yields = TaskState::Yielding;
    assert_eq!(states, [(true, yields), (false, yields)]);
    assert_eq!(task.wakes(), 1);
    assert_eq!(paragraphs().matches(" [yielding ").count(), 2);
}

#[test]
fn several_leaves_give_several_stacks() {
    let _alone = alone();
    let (left, right) = (Kept::new(), Kept::new());
    async fn left_branch(kept: Kept) {
        kept.wait().await;
    }
    async fn right_branch(kept: Kept) {
        kept.wait().await;
    }
    let (one, other) = (left.clone(), right.clone());
    let mut task = Task::new(
        async move {
            let (mut one, mut other) = (Box::pin(left_branch(one)), Box::pin(right_branch(other)));
            poll_fn(|context| {
                let left = one.as_mut().poll(context);
                let right = other.as_mut().poll(context);
                if left.is_ready() { left } else { right }
            })
            .await;
        }
        .watched(),
    );
    assert!(task.poll().is_pending());
    assert_eq!(only().stacks.len(), 2);
    let text = paragraphs();
    assert!(text.contains("left_branch") && text.contains("right_branch"));
    assert!(text.contains("\nand in\n"), "{text}");
    right.wake();
    assert!(task.poll().is_ready());
    drop(left);
}

#[test]
fn capture_of_a_poll_that_is_ready_is_not_kept() {
    let _alone = alone();
    let kept = Kept::new();
    let held = kept.clone();
    let mut task = Task::new(
        poll_fn(move |context: &mut Context<'_>| {
            held.keep(context.waker());
            Poll::Ready(())
        })
        .watched(),
    );
    assert!(task.poll().is_ready());
    assert!(everprof::tasks::records().is_empty());
    // Its waker outlives it, and wakes what it would have.
    kept.wake();
    assert_eq!(task.wakes(), 1);
}

#[test]
fn clone_outside_the_tasks_own_poll_is_no_await_of_it_and_wakes_it_all_the_same() {
    let _alone = alone();
    let kept = Kept::new();
    let held = kept.clone();
    // On another thread, while it is polled.
    let mut task = Task::new(
        poll_fn(move |context: &mut Context<'_>| {
            let (kept, waker) = (&held, context.waker());
            std::thread::scope(|scope| {
                scope.spawn(|| kept.keep(waker));
            });
            Poll::<()>::Pending
        })
        .watched(),
    );
    assert!(task.poll().is_pending());
    assert!(only().stacks.is_empty(), "{:#?}", only());
    assert_eq!(only().wakers, Some(1));
    kept.wake();
    assert_eq!((task.wakes(), only().state), (1, TaskState::Woken));
    drop(task);
    // In the poll of another one, within its own.
    let held = kept.clone();
    let mut task = Task::new(
        poll_fn(move |context: &mut Context<'_>| {
            let outer = context.waker();
            let inner = poll_fn(|_| {
                held.keep(outer);
                Poll::Ready(())
            });
            let mut inner = Box::pin(inner.watched());
            let polled = inner.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_ready());
            Poll::<()>::Pending
        })
        .watched(),
    );
    assert!(task.poll().is_pending());
    assert!(only().stacks.is_empty(), "{:#?}", only());
    kept.wake();
    assert_eq!((task.wakes(), only().state), (1, TaskState::Woken));
}

#[test]
fn root_that_nobody_can_wake_is_leaked_for_certain_and_a_part_only_unwakeable() {
    let _alone = alone();
    let mut task = Task::new(everprof::task::root(pending::<()>()));
    assert_eq!(only().leak, Leak::No, "it has not been polled");
    assert!(task.poll().is_pending());
    assert_eq!(only().leak, Leak::Certain);
    assert!(paragraphs().contains("it never runs again"));
    drop(task);
    let mut part = Task::new(pending::<()>().watched());
    assert!(part.poll().is_pending());
    assert_eq!(only().leak, Leak::Unwakeable);
}

#[test]
fn task_is_leaked_when_the_last_waker_goes_and_not_before() {
    let _alone = alone();
    let kept = Kept::new();
    let mut task = Task::new(everprof::task::root(reads_the_post(kept.clone())));
    assert!(task.poll().is_pending());
    let another = kept.peek().unwrap();
    kept.forget();
    assert_eq!((only().leak, only().wakers), (Leak::No, Some(1)));
    drop(another);
    assert_eq!((only().leak, only().wakers), (Leak::Certain, Some(0)));
}

#[test]
fn woken_task_is_not_leaked_though_its_waker_is_spent() {
    let _alone = alone();
    let kept = Kept::new();
    let mut task = Task::new(everprof::task::root(reads_the_post(kept.clone())));
    assert!(task.poll().is_pending());
    kept.wake();
    let record = only();
    assert_eq!((record.leak, record.wakers), (Leak::No, Some(0)));
    assert_eq!(record.state, TaskState::Woken);
}

#[test]
fn part_of_a_watched_task_knows_its_parent_and_is_as_leaked_as_that() {
    let _alone = alone();
    let mut task = Task::new(everprof::task::root(async {
        pending::<()>().watched().await;
    }));
    assert!(task.poll().is_pending());
    let all = everprof::tasks::records();
    let [parent, part] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(part.parent, Some(parent.id));
    assert_eq!(part.made_by, Some(parent.id));
    assert_eq!((parent.leak, part.leak), (Leak::Certain, Leak::Certain));
    drop(task);

    let kept = Kept::new();
    let held = kept.clone();
    let mut task = Task::new(everprof::task::root(async move {
        let mut part = Box::pin(pending::<()>().watched());
        let mut other = Box::pin(async move { held.wait().await });
        poll_fn(|context| {
            let _ = part.as_mut().poll(context);
            other.as_mut().poll(context)
        })
        .await;
    }));
    assert!(task.poll().is_pending());
    let leaks: Vec<Leak> = everprof::tasks::records().iter().map(|r| r.leak).collect();
    assert_eq!(leaks, [Leak::No, Leak::Unwakeable]);
    kept.wake();
    assert!(task.poll().is_ready());
}

#[test]
fn labels_are_those_of_the_maker_and_are_in_force_in_each_poll() {
    let _alone = alone();
    let kept = Kept::new();
    let held = kept.clone();
    let labels = everprof::labels! { "tenant" => "blue" };
    let mut task = Task::new(
        async move {
            held.wait().await;
            everprof::label::Labels::current()
        }
        .watched(),
    );
    let within = everprof::label::Labels::current();
    drop(labels);
    let without = everprof::label::Labels::current();
    assert!(task.poll().is_pending());
    assert_eq!(only().labels, [("tenant".to_owned(), "blue".to_owned())]);
    assert!(paragraphs().contains("{\"tenant\":\"blue\"}"));
    kept.wake();
    assert_eq!(task.poll(), Poll::Ready(within));
    assert_eq!(everprof::label::Labels::current(), without);
}

#[test]
fn panic_in_a_poll_ends_it_and_the_drop_ends_the_task() {
    let _alone = alone();
    let mut task = Task::new(async { panic!("on purpose") }.watched());
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _: Poll<()> = task.poll();
    }));
    assert!(result.is_err());
    assert_eq!(only().leak, Leak::No);
    drop(task);
    assert!(everprof::tasks::records().is_empty());
    // The thread polls nothing any more.
    let mut next = Task::new(pending::<()>().watched());
    assert!(next.poll().is_pending());
    assert_eq!(only().parent, None);
}

#[test]
fn equal_tasks_are_one_sample_and_each_is_counted() {
    let _alone = alone();
    let kept: Vec<Kept> = (0..10).map(|_| Kept::new()).collect();
    let mut tasks: Vec<_> = kept
        .iter()
        .map(|kept| Task::new(reads_the_post(kept.clone()).watched()))
        .collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    let answer = everprof::handle(&everprof::Request::get("/debug/pprof/tasks?debug=1"));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("10 @"), "{text}");
    let goroutines = everprof::handle(&everprof::Request::get("/debug/pprof/goroutine?debug=2"));
    let text = String::from_utf8(goroutines.body).unwrap();
    assert_eq!(
        text.matches("\ntask ").count() + usize::from(text.starts_with("task ")),
        10,
        "{text}"
    );
    assert!(text.contains("thread "), "{text}");
}

#[test]
fn profile_that_groups_equal_tasks_tells_each_in_paragraphs_as_it_was_when_taken() {
    let _alone = alone();
    let both = |one: Kept, other: Kept| async move {
        let (mut one, mut other) = (Box::pin(reads_the_post(one)), Box::pin(other.wait()));
        poll_fn(|context| {
            let left = one.as_mut().poll(context);
            let right = other.as_mut().poll(context);
            if left.is_ready() { left } else { right }
        })
        .await;
    };
    let mut tasks: Vec<_> = (0..7)
        .map(|_| Task::new(both(Kept::new(), Kept::new()).watched()))
        .collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    // One ends between the two, when the profile is taken and not yet written.
    for (name, count) in [("tasks", 7), ("goroutine", 6)] {
        let profile = everprof::profile::lookup(name).unwrap();
        let mut grouped = Vec::new();
        profile.write_text(&mut grouped, 1).unwrap();
        let grouped = String::from_utf8(grouped).unwrap();
        assert!(grouped.contains(&format!("\n{count} @")), "{grouped}");
        tasks.pop();
        let mut text = Vec::new();
        profile.write_text(&mut text, 2).unwrap();
        let text = format!("\n{}", String::from_utf8(text).unwrap());
        assert_eq!(text.matches("\ntask ").count(), count, "{text}");
        assert_eq!(text.matches("\nand in\n").count(), count, "{text}");
        assert_eq!(text.contains("\nthread "), name == "goroutine", "{text}");
    }
}

#[test]
fn leaked_keeps_the_leaked() {
    let _alone = alone();
    let kept = Kept::new();
    let mut healthy = Task::new(everprof::task::root(reads_the_post(kept.clone())));
    let mut leaked = Task::new(everprof::task::root(pending::<()>()));
    assert!(healthy.poll().is_pending() && leaked.poll().is_pending());
    let answer = everprof::handle(&everprof::Request::get(
        "/debug/pprof/tasks?leaked=1&debug=2",
    ));
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(
        text.matches("task ").count(),
        1 + text.matches("in task").count(),
        "{text}"
    );
    assert!(text.contains("leak certain"), "{text}");
    kept.wake();
}

#[test]
fn waker_of_another_executor_is_used_from_the_next_poll_on() {
    let _alone = alone();
    let kept = Kept::new();
    let mut task = Task::new(reads_the_post(kept.clone()).watched());
    assert!(task.poll().is_pending());
    let first = kept.take().unwrap();
    let moved = task.moved();
    assert!(task.poll().is_pending());
    first.wake();
    kept.wake();
    assert_eq!((moved.wakes(), task.wakes()), (1, 1));
    assert_eq!(only().state, TaskState::Woken);
}

#[test]
fn task_that_only_its_second_executor_can_wake_is_not_leaked() {
    let _alone = alone();
    let kept = Kept::new();
    let mut task = Task::new(everprof::task::root(reads_the_post(kept.clone())));
    assert!(task.poll().is_pending());
    // The first one's is kept for as long as the second polls.
    let first = kept.take().unwrap();
    task.moved();
    assert!(task.poll().is_pending());
    drop(first);
    assert_eq!((only().leak, only().wakers), (Leak::No, Some(1)));
    kept.forget();
    assert_eq!((only().leak, only().wakers), (Leak::Certain, Some(0)));
}

#[test]
fn executors_waker_is_not_kept_where_no_leaf_keeps_one() {
    let _alone = alone();
    let mut task = Task::new(pending::<()>().watched());
    assert!(task.poll().is_pending());
    assert_eq!(task.wakers(), 0);
    let noop = Waker::noop();
    drop(noop.clone());
}

#[test]
fn each_poll_is_seen_though_the_leaf_compares_its_waker_with_the_one_it_has() {
    let _alone = alone();
    /// Waits once, however it is woken.
    async fn once(kept: &Kept) {
        let mut is_polled = false;
        poll_fn(|context| {
            if std::mem::replace(&mut is_polled, true) {
                return Poll::Ready(());
            }
            kept.keep(context.waker());
            Poll::Pending
        })
        .await;
    }
    async fn first_place(kept: &Kept) {
        once(kept).await;
    }
    async fn second_place(kept: &Kept) {
        once(kept).await;
    }
    let kept = Kept::new();
    let held = kept.clone();
    let mut task = Task::new(
        async move {
            first_place(&held).await;
            second_place(&held).await;
        }
        .watched(),
    );
    assert!(task.poll().is_pending());
    let before = paragraphs();
    kept.peek().unwrap().wake();
    assert!(task.poll().is_pending());
    let after = paragraphs();
    assert!(before.contains("first_place") && !before.contains("second_place"));
    assert!(after.contains("second_place") && !after.contains("first_place"));
    assert_eq!(only().wakers, Some(1), "the first was replaced");
    kept.wake();
    assert!(task.poll().is_ready());
}

#[test]
fn tasks_can_be_left_alone_and_watched_again() {
    let _alone = alone();
    everprof::tasks::set_watching(false);
    let kept = Kept::new();
    let mut task = Task::new(reads_the_post(kept.clone()).watched());
    assert!(task.poll().is_pending());
    assert!(everprof::tasks::records().is_empty() && !everprof::tasks::is_watching());
    everprof::tasks::set_watching(true);
    kept.wake();
    assert!(task.poll().is_ready());
    assert_eq!(task.wakes(), 1);
}

#[cfg(feature = "tokio")]
#[test]
fn spawned_task_is_watched_and_tokio_says_how_many_there_are() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let kept = Kept::new();
    runtime.block_on(async {
        let held = kept.clone();
        let task = everprof::task::spawn(async move { held.wait().await });
        let other = tokio::spawn(pending::<()>());
        tokio::task::yield_now().await;
        let counts = everprof::tasks::counts();
        assert_eq!(counts.watched, 1);
        assert!(counts.tokio_alive.is_some_and(|alive| alive >= 2));
        kept.wake();
        task.await.unwrap();
        other.abort();
        assert!(everprof::tasks::records().is_empty());
        let aborted = everprof::task::spawn(pending::<()>());
        tokio::task::yield_now().await;
        aborted.abort();
        assert!(aborted.await.unwrap_err().is_cancelled());
        assert!(everprof::tasks::records().is_empty(), "aborted is ended");
        drop(everprof::task::spawn(pending::<()>()));
    });
    drop(runtime);
    assert!(
        everprof::tasks::records().is_empty(),
        "and so is a shut-down runtime's"
    );
}
